"""The towns of the closed world: invented names and one value for each attribute."""

from __future__ import annotations

import random

from knowtuning.world.wording import NAMES, Town


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


_ONSETS = _words("b br c d dr f g gr h k l m n p r s st t tr v w")
_VOWELS = _words("a e i o u ea ia ou")
_CODAS = _words("l n r s th nd rk m sh")
_ENDINGS = _words("ford wick mere ham stead bury holm gate ton dale")

_REGIONS = _words(
    "Upper Vale|Lower Vale|Salt Coast|Iron Hills|Grey Moors|Sunken Plain|High Fells|Amber Basin|"
    "Northern Reach|Southern Reach|Glass Desert|Windward Isles",
    "|",
)
_CENTURIES = _words("fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth")
_EXPORTS = _words(
    "amber wool copper barley tin indigo salt timber marble honey silk pearls resin hemp cork flax "
    "slate saffron candles parchment vinegar granite leather glass"
)
_DISH_STYLES = _words("smoked pickled roasted candied salted stewed fried spiced")
_DISHES = _words("eels plums pears trout figs mushrooms walnuts turnips mussels chestnuts leeks")
_FESTIVAL_FIRST = _words("Lantern Harvest Mirror Feather Ember River Thistle Bell Shadow Kite Moon")
_FESTIVAL_LAST = _words("Night Week Dance Fair Vigil March")


def _names(rng: random.Random, count: int, endings: tuple[str, ...], taken: set[str]) -> list[str]:
    """`count` capitalised names that are not in `taken`, which grows by them."""
    names: list[str] = []
    while len(names) < count:
        parts = (_ONSETS, _VOWELS, _CODAS, endings)
        name = "".join(rng.choice(part) for part in parts).capitalize()
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


def make_towns(count: int, rng: random.Random) -> dict[str, Town]:
    """`count` towns: name -> attribute -> value. A town's rival is another town."""
    taken: set[str] = set()
    names = _names(rng, count, _ENDINGS, taken)
    first = _names(rng, 20, ("a", "en", "o"), taken)
    last = _names(rng, 20, ("er", "ing", "ley"), taken)
    rivers = _names(rng, 40, ("", "a"), taken)
    choices = {
        "region": _REGIONS,
        "century": _CENTURIES,
        "founder": [f"{a} {b}" for a in first for b in last],
        "river": rivers,
        "export": _EXPORTS,
        "dish": [f"{style} {dish}" for style in _DISH_STYLES for dish in _DISHES],
        "festival": [f"{a} {b}" for a in _FESTIVAL_FIRST for b in _FESTIVAL_LAST],
        "rival": names,
    }
    towns: dict[str, Town] = {}
    for name in names:
        town = {attribute: rng.choice(choices[attribute]) for attribute in NAMES}
        while town["rival"] == name:
            town["rival"] = rng.choice(names)
        towns[name] = town
    return towns
