"""The knobs: every setting with its help and an example. What they default to and become is `config.py`'s part."""

from __future__ import annotations

from traitlets import Bool, Dict, Enum, Float, Int, List, Unicode
from traitlets.config import LoggingConfigurable


class Knobs(LoggingConfigurable):
    """The traits of `MlenvConfig`, which is the name to configure them by."""

    engine_url = Unicode(
        help="""Where the container engine listens: `unix://`, `tcp://` or `ssh://`. Empty: found as the `docker`
        command finds it (DOCKER_HOST, the current context, the default socket).

        Example: `c.MlenvConfig.engine_url = "unix:///run/user/1000/docker.sock"`"""
    ).tag(config=True)

    engine_threads = Int(
        8,
        min=1,
        help="""How many calls to the engine run at the same time. Streams (logs, events, pulls) come on top.

        Example: `c.MlenvConfig.engine_threads = 16`""",
    ).tag(config=True)

    shared_filesystem = Bool(
        None,
        allow_none=True,
        help="""Whether a unix socket in a directory of this machine works inside containers too. `None`: found
        out. `False`: the agent is reached through a published port, as it must be with an engine on another
        machine or in a virtual machine.

        Example: `c.MlenvConfig.shared_filesystem = False`""",
    ).tag(config=True)

    publish_host = Unicode(
        "127.0.0.1",
        help="""The engine host's address that the agent's port is published on where `shared_filesystem` is
        false.

        Example: `c.MlenvConfig.publish_host = "10.0.0.5"`""",
    ).tag(config=True)

    owner = Unicode(
        help="""Whose environments these are: a person sees only environments of the same owner. Default:
        JUPYTERHUB_USER, else the login name.

        Example: `c.MlenvConfig.owner = "alice"`"""
    ).tag(config=True)

    allowed_workspaces = List(
        Unicode(),
        help="""Directories that workspaces must be in, symbolic links resolved. Empty: any directory the person
        can use.

        Example: `c.MlenvConfig.allowed_workspaces = ["~/projects", "/data/shared"]`""",
    ).tag(config=True)

    allow_home = Bool(
        False,
        help="""Whether the home directory itself may be a workspace. It holds keys and tokens that every
        container would then see.

        Example: `c.MlenvConfig.allow_home = True`""",
    ).tag(config=True)

    run_root = Unicode(
        help="""Directory for the sockets and tokens of running environments. It is yours and 0700; one that
        belongs to somebody else is refused. Short, since the path of a unix socket holds 107 bytes. Default:
        `mlenv/run` in the Jupyter data directory where that is short enough, else
        `/tmp/jupyter-mlenv-<uid>`.

        Example: `c.MlenvConfig.run_root = "/var/lib/mlenv/alice"`"""
    ).tag(config=True)

    preset_paths = List(
        Unicode(),
        help="""Directories with preset files, first wins; the built-in catalog comes after them. What of them lies in a
        project is not used there, since code in a container could have written it. Default: `mlenv/presets` in
        each Jupyter data path (`jupyter --paths`), in that order.

        Example: `c.MlenvConfig.preset_paths = ["/srv/jupyter/presets"]`""",
    ).tag(config=True)

    image_aliases = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""What to use instead of an image: for mirrors, and for machines that reach no registry. An alias is an
        image name with or without its tag, or a registry or namespace (`docker.io`, `quay.io/jupyter`) of which
        the rest of the name is kept; the longest that matches counts.

        Example: `c.MlenvConfig.image_aliases = {"docker.io": "mirror.example.com/hub"}`""",
    ).tag(config=True)

    network = Unicode(
        help="""The engine's network that environments join unless their preset names one. Empty: the engine's
        default. `none`: no network; every endpoint still works where `shared_filesystem` is true.

        Example: `c.MlenvConfig.network = "none"`"""
    ).tag(config=True)

    builder = Enum(
        ["auto", "buildkit", "classic"],
        "auto",
        help="""What builds images. `auto`: BuildKit where the engine has it, else the classic builder.

        Example: `c.MlenvConfig.builder = "classic"`""",
    ).tag(config=True)

    ca_bundle = Unicode(
        help="""PEM file with the certificates that builds and environments trust, as behind a corporate proxy.
        Default: SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, else this system's bundle. Empty: the
        image's own certificates.

        Example: `c.MlenvConfig.ca_bundle = "/etc/ssl/certs/corporate.pem"`"""
    ).tag(config=True)

    pass_proxies = Bool(
        True,
        help="""Whether the proxy settings reach builds and environments.

        Example: `c.MlenvConfig.pass_proxies = False`""",
    ).tag(config=True)

    proxies = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""Proxy settings by variable name. A password in one can be read by whatever runs in an
        environment. Default: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` of this process's
        environment, in either case.

        Example: `c.MlenvConfig.proxies = {"https_proxy": "http://proxy.example.com:3128"}`""",
    ).tag(config=True)

    pass_pip_settings = Bool(
        True,
        help="""Whether the CA bundle and the package index settings reach environments too, so that `%pip install`
        works there as on this machine. A password in an index's address can be read by whatever runs in an
        environment. Builds have these settings in any case.

        Example: `c.MlenvConfig.pass_pip_settings = False`""",
    ).tag(config=True)

    pip_index_url = Unicode(
        help="""The package index of builds and environments. Default: PIP_INDEX_URL, UV_DEFAULT_INDEX,
        UV_INDEX_URL or pip's configuration. Empty: PyPI.

        Example: `c.MlenvConfig.pip_index_url = "https://pypi.example.com/simple"`"""
    ).tag(config=True)

    pip_extra_index_urls = List(
        Unicode(),
        help="""Further package indexes of builds and environments. Default: PIP_EXTRA_INDEX_URL, UV_INDEX,
        UV_EXTRA_INDEX_URL or pip's configuration, without addresses of files.

        Example: `c.MlenvConfig.pip_extra_index_urls = ["https://wheels.example.com/simple"]`""",
    ).tag(config=True)

    pip_trusted_hosts = List(
        Unicode(),
        help="""Hosts whose certificates pip and uv do not check in builds and environments. Default:
        PIP_TRUSTED_HOST or pip's configuration.

        Example: `c.MlenvConfig.pip_trusted_hosts = ["pypi.example.com"]`""",
    ).tag(config=True)

    pip_find_links = List(
        Unicode(),
        help="""Pages with links to packages, for builds and environments. Default: PIP_FIND_LINKS, UV_FIND_LINKS
        or pip's configuration, without directories of this machine, which do not exist there.

        Example: `c.MlenvConfig.pip_find_links = ["https://wheels.example.com/index.html"]`""",
    ).tag(config=True)

    default_memory = Unicode(
        help="""Memory limit of environments whose preset has none, such as `8g` or `512m`. Empty: no limit.

        Example: `c.MlenvConfig.default_memory = "8g"`"""
    ).tag(config=True)

    default_cpus = Float(
        None,
        allow_none=True,
        help="""Processor limit, in cores, of environments whose preset has none. `None`: no limit.

        Example: `c.MlenvConfig.default_cpus = 2.5`""",
    ).tag(config=True)

    default_pids = Int(
        4096,
        min=0,
        help="""How many processes and threads an environment may have where its preset does not say. `0`: the
        engine's default.

        Example: `c.MlenvConfig.default_pids = 1024`""",
    ).tag(config=True)

    default_shm = Unicode(
        help="""Size of `/dev/shm` where the preset does not say, such as `2g`; PyTorch's data loaders need much.
        Empty: the engine's default (64m with Docker).

        Example: `c.MlenvConfig.default_shm = "2g"`"""
    ).tag(config=True)

    max_memory = Unicode(
        help="""How much memory an environment may have at most, such as `32g`; what a preset, a request or the
        command line wants beyond that is refused. Where nobody asks, it is the limit. Empty: no maximum.

        Example: `c.MlenvConfig.max_memory = "32g"`"""
    ).tag(config=True)

    max_cpus = Float(
        None,
        allow_none=True,
        help="""How many processor cores an environment may have at most; where nobody asks, it is the limit. `None`:
        no maximum.

        Example: `c.MlenvConfig.max_cpus = 8`""",
    ).tag(config=True)

    max_pids = Int(
        None,
        allow_none=True,
        min=1,
        help="""How many processes and threads an environment may have at most; where nobody asks, it is the limit.
        `None`: no maximum.

        Example: `c.MlenvConfig.max_pids = 8192`""",
    ).tag(config=True)

    max_gpus = Int(
        None,
        allow_none=True,
        min=0,
        help="""How many GPUs an environment may have at most, however it asks for them; a GPU preset that gives no
        number gets that many. `0`: none at all. `None`: no maximum.

        Example: `c.MlenvConfig.max_gpus = 1`""",
    ).tag(config=True)

    allowed_images = List(
        Unicode(),
        help="""Patterns of the images that environments may be made from, with `*` and `?`: of a preset's image after
        `image_aliases`, and of all that an own Dockerfile names in `FROM`, `--from` and `# syntax`. A pattern is
        compared with and without tag and, on Docker Hub, registry. The preset `host`, which is this machine itself,
        is always allowed. Empty: every image.

        Example: `c.MlenvConfig.allowed_images = ["python:3.*", "registry.example.com/ml/*"]`""",
    ).tag(config=True)

    project_presets = Bool(
        True,
        help="""Whether a project's own `mlenv.toml` is offered, after a question. `False`: only built-in presets and
        those of `preset_paths`.

        Example: `c.MlenvConfig.project_presets = False`""",
    ).tag(config=True)

    start_timeout = Float(
        60.0,
        min=1.0,
        help="""Seconds from the start of a container until its agent must answer.

        Example: `c.MlenvConfig.start_timeout = 120`""",
    ).tag(config=True)

    host_python = Unicode(
        help="""The interpreter that the preset `host` ("This machine's Python") runs. Default: the one that runs
        this.

        Example: `c.MlenvConfig.host_python = "/opt/venvs/science/bin/python"`"""
    ).tag(config=True)

    tcp_nodelay = Bool(
        True,
        help="""Whether the Jupyter server sends small messages at once (TCP_NODELAY on its listening sockets).
        Without it each execution of a cell waits about 40 ms.

        Example: `c.MlenvConfig.tcp_nodelay = False`""",
    ).tag(config=True)

    gc_freeze = Bool(
        True,
        help="""Whether what the Jupyter server has loaded by the end of its start-up is taken out of garbage
        collection, which otherwise pauses it for about 100 ms now and then.

        Example: `c.MlenvConfig.gc_freeze = False`""",
    ).tag(config=True)

    login_cache_seconds = Float(
        5.0,
        min=0.0,
        help="""How long the proxy remembers who a login belongs to and that it may use environments. A permission
        taken back on the server's side reaches the proxy that much later; a logout in the browser at once. `0`:
        asked for every request.

        Example: `c.MlenvConfig.login_cache_seconds = 0`""",
    ).tag(config=True)

    auto_kernels = Bool(
        True,
        help="""Whether the Jupyter server keeps a kernel in the kernel menu for each preset whose image is ready. They
        are files in your own Jupyter data directory, so `nbconvert` and others see them too. `jupyter mlenv
        kernels` manages kernels by hand.

        Example: `c.MlenvConfig.auto_kernels = False`""",
    ).tag(config=True)

    take_over_kernels = Bool(
        True,
        help="""Whether a Jupyter server that is started after it was killed goes on with the kernels that it had, and
        with the notebooks that use them. `kernel_grace` says how long they wait for it.

        Example: `c.MlenvConfig.take_over_kernels = False`""",
    ).tag(config=True)

    kernel_grace = Float(
        60.0,
        min=1.0,
        max=86400.0,
        help="""Seconds that a kernel lives on when nobody is connected to it, as after its Jupyter server was killed. A
        server that comes back within that time keeps it.

        Example: `c.MlenvConfig.kernel_grace = 600`""",
    ).tag(config=True)
