"""The pure rules of the proxy: what passes, who may ask, where a body ends."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from jupyter_server.auth.identity import IdentityProvider, LegacyIdentityProvider, PasswordIdentityProvider
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from jupyter_mlenv.errors import ServiceExited
from jupyter_mlenv.proxy import auth
from jupyter_mlenv.proxy import headers as scrub
from jupyter_mlenv.proxy.bodies import ChunkedBody, body_of
from jupyter_mlenv.proxy.credentials import UNTOLD, Credentials, of_cookies
from jupyter_mlenv.proxy.error_page import error_page
from jupyter_mlenv.proxy.http1 import Head, ProtocolError, parse_head, request_head, response_head
from jupyter_mlenv.proxy.login_cache import Login, Logins, login_key
from jupyter_mlenv.proxy.origin import OriginPolicy, needs_click, refusal

RULE = scrub.CookieRule("login", "/b/mlenv/envs/e/app/")
CLIENT = scrub.Client("host:1", "https", "10.0.0.1")


def passed(
    *headers: tuple[str, str], rule: scrub.CookieRule = RULE, credentials: Credentials = UNTOLD
) -> dict[str, str]:
    own = Credentials(credentials.secrets | of_cookies(headers, rule), credentials.told)
    return dict(scrub.request_headers(headers, rule, CLIENT, own))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a%2Fb?x=%20y&z", "/a%2Fb?x=%20y&z"),
        ("/a?token=s", "/a"),
        ("/a?x=1&token=s&y=%2f", "/a?x=1&y=%2f"),
        ("/a?%74oken=s&x=1", "/a?x=1"),
        ("/a?_xsrf=2%7Cabc&x", "/a?x"),
        ("/a?mytoken=1&tokens=2", "/a?mytoken=1&tokens=2"),
        ("/token?", "/token?"),
        ("/a?x=1?token=2", "/a?x=1?token=2"),
    ],
)
def test_only_the_outer_servers_arguments_leave_the_target(target: str, expected: str) -> None:
    assert UNTOLD.scrub_target(target) == expected


def test_no_credential_of_the_outer_server_passes() -> None:
    headers = passed(
        (
            "Cookie",
            "login=s; username-host-1=s; _xsrf=s; jupyterhub-session-id=s; jupyterhub-user-a=s; _oauth2_proxy_1=s",
        ),
        ("Authorization", "token s"),
        ("X-XSRFToken", "s"),
        ("X-Csrftoken", "s"),
        ("X-Forwarded-Access-Token", "s"),
        ("X-Forwarded-For", "s"),
        ("Proxy-Authorization", "s"),
        ("Cf-Access-Jwt-Assertion", "s"),
        ("Referer", "https://host:1/b/lab?token=s&x=1"),
        ("Host", "host:1"),
    )
    assert headers == {
        "Referer": "https://host:1/b/lab?x=1",
        "Host": "host:1",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "host:1",
        "X-Forwarded-Prefix": RULE.path.rstrip("/"),
        "X-Forwarded-Proto": "https",
        "X-Scheme": "https",
    }


def test_the_applications_own_cookies_pass_and_its_double_submit_token_too() -> None:
    headers = passed(("Cookie", "login=s; session=a=b; _streamlit_xsrf=2%7Ct"), ("X-XSRFToken", "2|t"))
    assert headers["Cookie"] == "session=a=b; _streamlit_xsrf=2%7Ct"
    assert headers["X-XSRFToken"] == "2|t"
    # Django's differs from its cookie, and is none of ours.
    assert passed(("Cookie", "csrftoken=a"), ("X-Csrftoken", "b"))["X-Csrftoken"] == "b"


@pytest.mark.parametrize("value", ["2|s|t", "2%7Cs%7Ct", "s"])
def test_the_outer_servers_own_token_against_forgery_stays_outside(value: str) -> None:
    cookies = ("Cookie", "login=s; session=1; _xsrf=2%7Cs%7Ct")
    assert not {"X-XSRFToken", "X-Csrftoken"} & set(passed(cookies, ("X-XSRFToken", value), ("X-Csrftoken", value)))


TOLD = Credentials(frozenset(["0uter"]), told=True)
"""Of a server whose one token is known."""


@pytest.mark.parametrize("value", ["Bearer app-jwt", "token app", "ApiKey 1", "AWS4-HMAC-SHA256 Credential=a"])
def test_an_applications_own_authorization_arrives_where_it_can_be_told(value: str) -> None:
    assert passed(("Authorization", value), credentials=TOLD)["Authorization"] == value
    assert "Authorization" not in passed(("Authorization", value)), "a hub's tokens are known to the hub alone"
    # Behind a sign-on proxy it may be that one's.
    signed_on = passed(("Authorization", value), ("X-Auth-Request-User", "ann"), credentials=TOLD)
    assert "Authorization" not in signed_on
    plain = passed(
        ("X-Forwarded-For", "10.0.0.9"), ("X-Forwarded-Proto", "https"), ("Authorization", value), credentials=TOLD
    )
    assert plain["Authorization"] == value


@pytest.mark.parametrize(
    "value", ["token 0uter", "Bearer 0uter", "0uter", "Basic YW5uOnB3", "basic x", "Negotiate Y", "NTLM x"]
)
def test_a_login_of_the_outer_site_never_passes(value: str) -> None:
    assert "Authorization" not in passed(("Authorization", value), credentials=TOLD)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/signup?token=invite-1&x=1", "/signup?token=invite-1&x=1"),
        ("/a?token=0uter&x=1", "/a?x=1"),
        ("/a?token=%30uter", "/a"),
        ("/a?%74oken=0uter", "/a"),
        ("/a?token=invite&token=0uter", "/a?token=invite"),
        ("/a?_xsrf=app", "/a?_xsrf=app"),
    ],
)
def test_an_applications_own_arguments_arrive_where_they_can_be_told(target: str, expected: str) -> None:
    assert TOLD.scrub_target(target) == expected


def test_an_endpoint_without_cookies_gets_and_sets_none() -> None:
    rule = scrub.CookieRule("login", "/p/", allowed=False)
    assert "Cookie" not in passed(("Cookie", "session=1"), rule=rule)
    assert scrub.response_headers([("Set-Cookie", "session=1")], rule) == []


def test_hop_by_hop_fields_and_those_that_connection_names_stay_behind() -> None:
    headers = passed(
        ("Connection", "keep-alive, X-Mine, Host"),
        ("X-Mine", "1"),
        ("Host", "h"),
        ("Te", "trailers"),
        ("Accept", "*/*"),
    )
    assert {"Host", "Accept"} <= set(headers)
    assert not {"Connection", "X-Mine", "Te"} & set(headers)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s=1; Path=/; Domain=x.org; HttpOnly", "s=1; HttpOnly; Path=/b/mlenv/envs/e/app/"),
        ("s=1; path=/b/mlenv/envs/e/app/deep; Secure", "s=1; Secure; Path=/b/mlenv/envs/e/app/deep"),
        ("s=1", "s=1; Path=/b/mlenv/envs/e/app/"),
        ("login=1", ""),
        ("LOGIN=1; Path=/", ""),
        ("username-x=; Max-Age=0", ""),
        ("_xsrf=1", ""),
        ("s=1; Domain =x.org; Path =/; max-age = 5", "s=1; max-age=5; Path=/b/mlenv/envs/e/app/"),
        ("s = 1 ;\tdomain\t=x.org", "s=1; Path=/b/mlenv/envs/e/app/"),
        ("s=1; path=/b/mlenv/envs/e/app/; path=/", "s=1; Path=/b/mlenv/envs/e/app/"),
        ("s=1; Unheard-Of=1; Partitioned", "s=1; Partitioned; Path=/b/mlenv/envs/e/app/"),
        ("=username-x=1; Path=/", ""),
        (" = username-x=1", ""),
        ("username-x", ""),
        ("just text", ""),
        ("\tlogin\t=1", ""),
        ("\xa0login=1", ""),
        ("\x0blogin=1", ""),
        ('"login"=1', ""),
        ("__Host-login=1", ""),
        ("__secure-__HOST-username-x=1", ""),
        ("__Http-_xsrf=1", ""),
        ("authentik_session=1", ""),
    ],
)
def test_cookies_are_confined_to_their_endpoint(given: str, expected: str) -> None:
    assert scrub.confine_cookie(given, RULE) == expected


def test_an_answer_cannot_act_on_the_whole_site() -> None:
    headers = [
        ("Clear-Site-Data", '"cookies"'),
        ("Strict-Transport-Security", "max-age=1"),
        ("Service-Worker-Allowed", "/"),
        ("Transfer-Encoding", "chunked"),
        ("Location", "/elsewhere"),
        ("Content-Encoding", "br"),
    ]
    assert scrub.response_headers(headers, RULE) == [("Location", "/elsewhere"), ("Content-Encoding", "br")]


@pytest.mark.parametrize(
    "name",
    [
        *("Service-Worker-Allowed", "Accept-CH", "Accept-CH-Lifetime", "Critical-CH", "Alt-Svc", "NEL", "Report-To"),
        *("Reporting-Endpoints", "Public-Key-Pins-Report-Only", "Set-Cookie2", "Set-Login", "Use-As-Dictionary"),
        *("Secure-Session-Registration", "Sec-Session-Registration", "Sec-Session-Id", "Speculation-Rules"),
        *("Observe-Browsing-Topics", "Attribution-Reporting-Register-Source", "Origin-Agent-Cluster"),
        *("WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Access-Control-Allow-Origin"),
        *("Access-Control-Allow-Credentials", "X-Accel-Redirect", "X-Accel-Expires", "X_Accel_Redirect", "X-Sendfile"),
        *("X-SENDFILE-TEMPORARY", "X-LiteSpeed-Location", "X-Reproxy-URL", "X-Lighttpd-Send-File", "Surrogate-Control"),
    ],
)
def test_fields_for_the_origin_and_for_proxies_are_dropped(name: str) -> None:
    inside = "/b/mlenv/envs/e/app/x"
    assert scrub.response_headers([(name, inside), (name.lower(), inside)], RULE) == []


def test_fields_for_the_page_stay() -> None:
    kept = [
        ("Sec-WebSocket-Accept", "x"),
        ("Link", "</a.css>; rel=preload"),
        ("Permissions-Policy", "camera=()"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Refresh", "5"),
        ("X-Mine", "1"),
    ]
    assert scrub.response_headers(kept, RULE) == kept


def test_others_read_answers_only_where_the_server_says_so() -> None:
    open_door = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Credentials", "true")]
    assert scrub.response_headers(open_door, RULE) == []
    assert scrub.response_headers(open_door, RULE, cross_origin=True) == open_door
    for origin, expected in (("https://lab.example", True), ("https://evil.example", False), ("", False)):
        headers = HTTPHeaders({"Origin": origin} if origin else {})
        assert OriginPolicy("https://lab.example").lets_read(headers) is expected


def test_pages_go_on_saying_where_their_requests_come_from() -> None:
    """Without a Referer a page's own requests over plain http could not be told from another site's."""
    said = [("Referrer-Policy", "no-referrer, strict-origin")]
    assert scrub.response_headers(said, RULE) == [("Referrer-Policy", "same-origin, strict-origin")]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "X-authentik-jwt",
            "X-Pomerium-Jwt-Assertion",
            "X-Vouch-User",
            "X-Access-Token",
            "X-Id-Token",
            "X-Remote-User",
        ),
        *("Remote-User", "Remote-Groups", "X-Webauth-User", "X-User", "X-User-Email", "X-Email", "X_Access_Token"),
        *("X-Auth-Request-Access-Token", "X-Original-URI", "X-Forwarded-Email", "Cookie2"),
        *("OIDC_access_token", "X-Goog-Authenticated-User-Email", "X-MS-CLIENT-PRINCIPAL", "Tailscale-User-Login"),
    ],
)
def test_names_and_tokens_of_sign_on_proxies_stay_outside(name: str) -> None:
    assert name not in passed((name, "secret"))
    assert "X-User-Agent" in passed(("X-User-Agent", "grpc-web"))


def test_the_prefix_is_ours_to_say() -> None:
    kept = scrub.request_headers([("X-Forwarded-Prefix", "/evil"), ("x_forwarded_prefix", "/evil")], RULE, CLIENT)
    assert [value for name, value in kept if "prefix" in name.lower()] == [RULE.path.rstrip("/")]


HERE = {"Host": "here:8888"}


@pytest.mark.parametrize(
    ("method", "upgrade", "headers", "refused"),
    [
        ("POST", False, {"Origin": "http://here:8888"}, False),
        ("POST", False, {"Origin": "HTTP://HERE:8888", "Sec-Fetch-Site": "same-origin"}, False),
        ("POST", False, {"Origin": "http://evil.org"}, True),
        ("POST", False, {"Origin": "http://here:8889", "Sec-Fetch-Site": "same-site"}, True),
        ("POST", False, {"Origin": "null"}, True),
        ("POST", False, {"Origin": "http://here:8888", "Sec-Fetch-Site": "cross-site"}, True),
        ("POST", False, {"Referer": "http://here:8888/lab"}, False),
        ("POST", False, {"Referer": "http://evil.org/here:8888"}, True),
        ("POST", False, {"Sec-Fetch-Site": "same-origin"}, False),
        ("POST", False, {"Sec-Fetch-Site": "same-site"}, True),
        ("DELETE", False, {}, True),
        ("GET", True, {}, True),
        ("GET", True, {"Origin": "http://evil.org"}, True),
        ("GET", True, {"Origin": "http://here:8888"}, False),
        ("GET", False, {}, False),
        ("GET", False, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, True),
        ("GET", False, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, True),
        ("GET", False, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
        ("GET", False, {"Sec-Fetch-Site": "same-origin"}, False),
        (
            "GET",
            False,
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
            True,
        ),
        ("GET", True, {"Sec-Fetch-Site": "same-origin"}, True),
        ("GET", True, {"Referer": "http://here:8888/"}, True),
        # Over plain http to a host's name, where there is no Sec-Fetch-Site:
        ("GET", False, {"Origin": "http://evil.org"}, True),
        ("OPTIONS", False, {"Origin": "http://evil.org"}, True),
        ("HEAD", False, {"Origin": "null"}, True),
        ("GET", False, {"Origin": "http://here:8888"}, False),
        ("GET", False, {"Referer": "http://here:8889/x"}, True),
        ("GET", False, {"Referer": "http://[here"}, True),
        ("GET", False, {"Referer": "http://here:8888/x"}, False),
        ("GET", False, {"User-Agent": "Mozilla/5.0"}, True),
        ("GET", False, {"User-Agent": "Mozilla/5.0", "Accept": "text/html"}, True),
        ("GET", False, {"User-Agent": "Mozilla/5.0", "Upgrade-Insecure-Requests": "1"}, False),
        ("GET", False, {"User-Agent": "curl/8"}, False),
    ],
)
def test_other_sites_cannot_ask(method: str, upgrade: bool, headers: dict[str, str], refused: bool) -> None:
    assert bool(refusal(method, upgrade, HTTPHeaders(HERE | headers), OriginPolicy())) is refused


BROWSER = {"User-Agent": "Mozilla/5.0", "Upgrade-Insecure-Requests": "1"}
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("headers", "query", "asked"),
    [
        ({"Sec-Fetch-Site": "cross-site"} | NAVIGATE, "", True),
        ({"Sec-Fetch-Site": "same-site"} | NAVIGATE, "x=1", True),
        ({"Sec-Fetch-Site": "same-origin"} | NAVIGATE, "x=1", False),
        ({"Sec-Fetch-Site": "none"} | NAVIGATE, "x=1", False),
        ({"Referer": "http://evil.org/"} | BROWSER, "", True),
        ({"Referer": "http://here:8888/lab"} | BROWSER, "x=1", False),
        (BROWSER, "x=1", True),
        (BROWSER, "", False),
        ({}, "x=1", False),
    ],
)
def test_a_link_of_another_site_opens_nothing_without_a_click(headers: dict[str, str], query: str, asked: bool) -> None:
    given = HTTPHeaders(HERE | headers)
    assert not refusal("GET", False, given, OriginPolicy())
    assert needs_click("GET", given, query, OriginPolicy()) is asked
    assert not needs_click("POST", given, query, OriginPolicy())
    if "Referer" in headers:
        assert not needs_click("GET", given, query, OriginPolicy("", r"http://.*"))


def test_configured_origins_may_ask() -> None:
    headers = HTTPHeaders(HERE | {"Origin": "https://lab.example", "Sec-Fetch-Site": "cross-site"})
    assert not refusal("POST", False, headers, OriginPolicy("https://lab.example"))
    assert not refusal("POST", False, headers, OriginPolicy("", r"https://.*\.example"))
    assert refusal("POST", False, headers, OriginPolicy("", r"https://.*\.exam"))
    assert refusal("POST", False, headers, OriginPolicy("https://other.example"))
    assert not refusal("GET", True, headers, OriginPolicy("*"))
    assert refusal("POST", False, headers, OriginPolicy("*"))


def head_of(status: int, headers: Sequence[tuple[str, str]]) -> Head:
    return Head(status, "", headers, [name.lower() for name, _ in headers], True)


def test_a_head_is_parsed_as_it_was_sent() -> None:
    head = parse_head(b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nx-a:  2 \r\nX-Fold: a\r\n b\r\nX-L: \xe9")
    assert head == Head(
        200,
        "Fine",
        [("X-A", "1"), ("x-a", "2"), ("X-Fold", "a b"), ("X-L", "é")],
        ["x-a", "x-a", "x-fold", "x-l"],
        True,
    )
    assert head.values("x-a") == ["1", "2"]
    assert not parse_head(b"HTTP/1.0 200 OK").keep_alive
    assert not parse_head(b"HTTP/1.1 200\r\nConnection: Close").keep_alive


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x",
        b"HTTP/1.1 20 x",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\na b: 1",
        b"HTTP/1.1 200 OK\r\nA: \r",
    ],
)
def test_what_is_not_http_is_called_so(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_head(data)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_chunks_are_found_however_they_arrive(step: int) -> None:
    data = b"5\r\nhello\r\n1;x=y\r\n!\r\n00A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nbehind"
    body, pieces, behind = ChunkedBody(), [], b""
    for at in range(0, len(data), step):
        if body.done:
            behind += data[at : at + step]
            continue
        more, rest = body.feed(data[at : at + step])
        pieces += more
        behind += rest
    assert body.done
    assert b"".join(pieces) == b"hello!0123456789"
    assert behind == b"behind"


@pytest.mark.parametrize("data", [b"x\r\n", b"-1\r\n", b"0x5\r\nhello\r\n", b"5\r\nhello!\r\n", b"\r\n", b"f" * 9000])
def test_broken_chunks_are_errors(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        ChunkedBody().feed(data)


def test_the_length_of_a_body_cannot_be_argued_about() -> None:
    def kind(*headers: tuple[str, str], method: str = "GET", status: int = 200) -> str:
        return type(body_of(head_of(status, headers), method)).__name__

    assert kind(("Transfer-Encoding", "chunked"), ("Content-Length", "5")) == "ChunkedBody"
    assert kind(("Content-Length", "5"), ("content-length", "5")) == "LengthBody"
    assert kind(("Content-Length", "5, 5")) == "LengthBody"
    assert kind() == "CloseBody"
    assert body_of(head_of(304, [("Content-Length", "5")]), "GET").done
    assert body_of(head_of(200, [("Content-Length", "5")]), "HEAD").done
    for headers in (
        [("Content-Length", "5, 6")],
        [("Content-Length", "+5")],
        [("Content-Length", "٥")],
        [("Transfer-Encoding", "gzip, chunked")],
    ):
        with pytest.raises(ProtocolError):
            kind(*headers)


@pytest.mark.parametrize(
    ("status", "reason", "fields"),
    [
        (200, "OK\nX: 1", []),
        (700, "Odd", []),
        (200, "OK", [("X", "1\r\nY: 2")]),
        (200, "OK", [("X: 1\r\nY", "2")]),
        (200, "OK", [("X", "1\x00")]),
        (200, "OK", [("", "1")]),
    ],
)
def test_nothing_is_written_that_could_be_read_in_two_ways(
    status: int, reason: str, fields: list[tuple[str, str]]
) -> None:
    with pytest.raises(ProtocolError):
        response_head(status, reason, fields)


def test_a_header_cannot_break_out_of_its_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        request_head("GET", "/", [("X", "1\r\nY: 2")])
    with pytest.raises(ValueError, match="line break"):
        request_head("GET", "/ HTTP/1.1\nX: 1", [])


def request(target: str = "/", **headers: str) -> HTTPServerRequest:
    fields = HTTPHeaders({"Host": "h"} | {name.replace("_", "-"): value for name, value in headers.items()})
    return HTTPServerRequest(start_line=RequestStartLine("GET", target, "HTTP/1.1"), headers=fields)


class Sso:
    """An identity provider that nobody knows."""


def test_a_login_is_remembered_for_the_same_credentials_only() -> None:
    from jupyter_server.auth.identity import IdentityProvider

    known = IdentityProvider()
    key = login_key(request("/a?x=1", Cookie="login=1", Accept="text/html"), known)
    assert key == login_key(request("/b?x=2", Cookie="login=1", Accept="*/*"), known)
    assert key != login_key(request(Cookie="login=2"), known)
    assert key != login_key(request(Cookie="login=1", Authorization="token t"), known)
    assert key != login_key(request("/?token=t", Cookie="login=1"), known)
    assert key != login_key(request("/?%74oken=t", Cookie="login=1"), known)
    assert login_key(request(), known) != login_key(request(X_Remote_User="bob"), known)
    assert login_key(request("/?jwt=1"), Sso()) != login_key(request("/?jwt=2"), Sso())


def test_a_login_can_be_remembered_for_no_time_at_all() -> None:
    logins = Logins(ttl=0)
    logins.put("key", Login("alice", False))
    assert logins.get("key") is None
    logins = Logins(ttl=60)
    logins.put("key", Login("alice", False))
    assert logins.get("key") == Login("alice", False)


def test_the_error_page_escapes_what_the_container_said() -> None:
    page = error_page(ServiceExited("<b>", hint="<i>", log=["<script>"]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page


def test_only_of_jupyters_own_logins_is_all_known() -> None:
    class Hub(IdentityProvider):
        def get_user(self, handler: object) -> None:
            return None

    class Named(PasswordIdentityProvider):
        """With another name, and nothing else."""

    known = [PasswordIdentityProvider, IdentityProvider, Named]
    assert [auth._has_one_token(kind) for kind in (*known, Hub, LegacyIdentityProvider)] == [True] * 3 + [False] * 2
