"""Units as {{convert}} spells them out.

In: the code of a unit. Out: its name behind a number other than one.

Source: https://en.wikipedia.org/wiki/Template:Convert#Units.
"""

from typing import Final

UNITS: Final = {
    "mm": "millimetres", "cm": "centimetres", "m": "metres", "km": "kilometres", "in": "inches", "ft": "feet",
    "yd": "yards", "mi": "miles", "nmi": "nautical miles", "ly": "light-years", "au": "astronomical units",
    "mm2": "square millimetres", "cm2": "square centimetres", "m2": "square metres", "km2": "square kilometres",
    "sqin": "square inches", "sqft": "square feet", "sqyd": "square yards", "sqmi": "square miles", "ha": "hectares",
    "acre": "acres", "e6acre": "million acres", "e6ha": "million hectares", "m3": "cubic metres",
    "cm3": "cubic centimetres", "km3": "cubic kilometres", "cuin": "cubic inches", "cuft": "cubic feet",
    "cuyd": "cubic yards", "cumi": "cubic miles", "acre.ft": "acre-feet", "acre.foot": "acre-feet", "l": "litres",
    "ml": "millilitres", "usgal": "US gallons", "impgal": "imperial gallons", "usoz": "US fluid ounces",
    "g": "grams", "kg": "kilograms", "mg": "milligrams", "t": "tonnes", "lb": "pounds", "oz": "ounces", "st": "stone",
    "lt": "long tons", "ton": "tons", "km/h": "kilometres per hour", "kph": "kilometres per hour",
    "mph": "miles per hour", "m/s": "metres per second", "ft/s": "feet per second", "kn": "knots",
    "w": "watts", "kw": "kilowatts", "mw": "megawatts", "hp": "horsepower", "bhp": "brake horsepower",
    "ps": "metric horsepower",
    "nm": "newton-metres", "lbft": "pound-feet", "n": "newtons", "lbf": "pounds-force",
    "pa": "pascals", "kpa": "kilopascals", "mpa": "megapascals", "bar": "bars", "psi": "pounds per square inch",
    "j": "joules", "kj": "kilojoules", "kcal": "kilocalories", "c": "°C", "f": "°F", "k": "K",
    "c-change": "°C", "f-change": "°F", "/km2": "per square kilometre", "/sqmi": "per square mile",
    "pd/km2": "inhabitants per square kilometre", "pd/sqmi": "inhabitants per square mile",
    "m3/s": "cubic metres per second", "cuft/s": "cubic feet per second", "e6km2": "million square kilometres",
    "e6sqmi": "million square miles", "hand": "hands", "furlong": "furlongs", "league": "leagues", "fathom": "fathoms",
    "foot": "feet", "feet": "feet", "mile": "miles", "metre": "metres", "inch": "inches", "pound": "pounds",
}  # fmt: skip
