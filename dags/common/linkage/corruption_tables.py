"""What people and machines mix up when they write names and addresses: the data of `corruption`."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_KEYS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = ((-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0))  # down and right: the rows of keys are staggered
NEIGHBOURING_KEYS = {
    key: "".join(
        _KEYS[row + down][column + right]
        for down, right in _BESIDE
        if 0 <= row + down < len(_KEYS) and 0 <= column + right < len(_KEYS[row + down])
    )
    for row, keys in enumerate(_KEYS)
    for column, key in enumerate(keys)
}
"""The keys beside each key of an English keyboard."""

OCR_CONFUSIONS = [
    pair
    for one, other in (
        ("rn", "m"),
        ("cl", "d"),
        ("vv", "w"),
        ("ii", "u"),
        ("0", "O"),
        ("1", "l"),
        ("5", "S"),
        ("8", "B"),
        ("6", "G"),
        ("2", "Z"),
        ("I", "l"),
        ("e", "c"),
        ("h", "b"),
        ("n", "u"),
        ("f", "t"),
    )
    for pair in ((one, other), (other, one))
]
"""Shapes that scanners take for each other, in both directions."""

SOUND_ALIKES = [
    pair
    for one, other in (
        ("ph", "f"),
        ("ck", "k"),
        ("ei", "ie"),
        ("ee", "ea"),
        ("ey", "y"),
        ("ou", "oo"),
        ("ai", "ay"),
        ("sch", "sh"),
        ("th", "t"),
        ("wr", "r"),
        ("kn", "n"),
        ("tt", "t"),
        ("nn", "n"),
        ("ll", "l"),
        ("ss", "s"),
        ("mm", "m"),
        ("qu", "kw"),
        ("x", "ks"),
        ("c", "k"),
        ("c", "s"),
        ("z", "s"),
        ("j", "g"),
        ("i", "y"),
        ("v", "w"),
        ("son", "sen"),
        ("er", "or"),
    )
    for pair in ((one, other), (other, one))
]
"""Spellings that sound alike in English, in both directions."""

LAST_NAMES = _words(
    "Abbott Acosta Bauer Bell Blake Carver Cho Costa Crane Dalton Doyle Eriksen Farrell Finch Gallagher Garza Haas "
    "Hale Ibarra Ingram Jacobs Jansen Keller Kowalski Lang Larsen Maddox Mercer Nakamura Novak Osborne Ortega Pace "
    "Patel Quinn Rahman Rossi Sandoval Sato Thorne Tran Underwood Vance Vogel Walsh Weber Yates York Zamora "
    "Zimmerman"
)
"""Last names that somebody may take who marries."""

STREETS = _words(
    "Alder Birch Canal Cedar Church Dogwood Elm Foundry Garden Harvest Hickory Juniper Kiln Linden Maple Market Mill "
    "Oak Orchard Pine Prospect Quarry River School Spring Station Sycamore Vine Walnut Willow"
)
STREET_WORDS = ("Street", "Avenue", "Road", "Lane", "Drive", "Court", "Boulevard", "Place")
CITIES = _words(
    "Ashford Brookfield Clayton Dunmore Eastport Fairview Glenwood Hartley Kingsbury Lakeside Milton Norwood Oakdale "
    "Preston Redmond Salem Trenton Waverly"
)
STATES = _words("AZ CA CO FL GA IL MA MI MN NC NY OH OR PA TX VA WA WI")
"""Parts of the addresses that people move to."""

ABBREVIATIONS = {
    "Street": ("St", "St.", "Str"),
    "Avenue": ("Ave", "Ave.", "Av"),
    "Road": ("Rd", "Rd."),
    "Lane": ("Ln", "Ln."),
    "Drive": ("Dr", "Dr.", "Drv"),
    "Court": ("Ct", "Ct."),
    "Boulevard": ("Blvd", "Blvd.", "Boul"),
    "Place": ("Pl", "Pl."),
    "Square": ("Sq", "Sq."),
    "Terrace": ("Ter", "Terr"),
    "Parkway": ("Pkwy", "Pky"),
    "Highway": ("Hwy",),
    "Trail": ("Trl",),
    "Circle": ("Cir", "Circ"),
    "Crescent": ("Cres",),
    "Freeway": ("Fwy",),
    "Turnpike": ("Tpke",),
    "Mountain": ("Mtn", "Mt"),
    "Mount": ("Mt", "Mt."),
    "Fort": ("Ft", "Ft."),
    "Heights": ("Hts",),
    "Junction": ("Jct",),
    "North": ("N", "N."),
    "South": ("S", "S."),
    "East": ("E", "E."),
    "West": ("W", "W."),
    "Apartment": ("Apt", "Apt.", "#", "Unit"),
    "Apt.": ("Apt", "Apartment", "#", "Unit"),
    "Apt": ("Apt.", "Apartment", "#", "Unit"),
    "Suite": ("Ste", "Ste.", "#"),
    "Saint": ("St", "St."),
}
"""Words of addresses and how else people write them.

This is not the table of the standardiser on purpose: errors made from that one would be undone without exception.
"""

ACCENTED = {"a": "á", "e": "é", "i": "í", "o": "ö", "u": "ü", "n": "ñ", "c": "ç"}
"""Letters of a name and what they look like with an accent."""
