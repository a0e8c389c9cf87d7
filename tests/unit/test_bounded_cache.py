"""A cache that forgets what was used longest ago."""

from __future__ import annotations

from jupyter_mlenv.bounded_cache import BoundedCache


def test_of_a_thousand_the_last_ones_used_stay() -> None:
    cache: BoundedCache[int, str] = BoundedCache(3)
    for number in range(1000):
        cache.put(number, str(number))
        assert cache.get(0) == "0", "it is used all the time"
    assert sorted(cache) == [0, 998, 999]
    assert cache.get(997) is None


def test_a_newer_value_takes_the_place_of_the_older_one() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    for number in range(5):
        cache.put("a", number)
    cache.put("b", 7)
    assert (cache.get("a"), cache.get("b"), len(cache)) == (4, 7, 2)


def test_forgetting() -> None:
    cache: BoundedCache[tuple[str, int], int] = BoundedCache(9)
    for key in (("a", 1), ("a", 2), ("b", 1)):
        cache.put(key, 0)
    cache.drop(("c", 1))
    cache.drop(("a", 2))
    cache.drop_all(lambda key: key[0] == "b")
    assert list(cache) == [("a", 1)]
    cache.drop_all()
    assert len(cache) == 0
