"""Where a phrase ends, written plainly as expressions: what the arrays of vocab.phrases are held against."""

import unicodedata

import regex

from vocab.normalize import spell_signs

INVISIBLE = (
    "\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff"
)
NARROW_SPACES = "[\u00a0\u2007\u2009\u202f]"
LETTERS = r"[\p{L}\p{N}\p{Mn}\p{Mc}--[\u02bc]]"
IN_WORD = rf"[{LETTERS}'\u2019\u02bc]"
START = rf"(?<!{LETTERS})"
BIG, SMALL, MARKS = r"[\p{Lu}\p{Lt}\p{Lo}\p{Lm}--[\u02bc]]", r"\p{Ll}", r"[\p{Mn}\p{Mc}]*"
TITLES = (
    "Adm|Amb|Ave|Blvd|Brig|Bros|Capt|Cmdr|Col|Comdr|Corp|Cpl|Dept|Dra|Drs|Esq|Gen|Gov|Hon|Inc|Ing|Lieut|Ltd|Maj|Messrs"
    "|Mgr|Mrs|Msgr|Mts|Prof|Pvt|Rep|Rev|Sen|Sgt|Sra|Sta|Supt|Univ|Vol"
)
KEPT = regex.compile(
    "|".join(
        [
            rf"(?<={IN_WORD})[\"\u2018\u00b7\u2027\u05f4\u055b\u055c\u055e](?={IN_WORD})",
            rf"(?<=[{IN_WORD}.])[-\u2010\u2012\u2013\u2212\u05be](?={IN_WORD})",
            rf"(?<={START}(?:{BIG}{MARKS}|[\p{{Lu}}\p{{Lt}}]{SMALL}|\p{{Nd}}{{1,2}}|{TITLES}))\.",
            rf"(?<={IN_WORD})(?<!{START}{SMALL}{MARKS})\.(?={IN_WORD})",
        ]
    ),
    regex.V1,
)
GOES_ON = "['\u2019\u02bc&+@#%*°§®©\u2030\u2032\u2033\u066a\u05f3\u0970\u1361\u0f0b\u0f0c]"
NO_END = rf"[\p{{Sc}}\p{{Sk}}\p{{Pc}}||{GOES_ON}]"
ENDS = regex.compile(rf"{KEPT.pattern}|([[\p{{P}}\p{{S}}\p{{Cc}}\p{{Zl}}\p{{Zp}}]--{NO_END}])", regex.V1)
BETWEEN_DIGITS = rf"(?<=\p{{Nd}})[^{IN_WORD}\ \n](?=\p{{Nd}})"
COMPOSED = regex.compile(rf"{IN_WORD}+(?:{BETWEEN_DIGITS}{IN_WORD}+)+", regex.V1)
INSIDE_COMPOSED = regex.compile(BETWEEN_DIGITS, regex.V1)


def split_plainly(text):
    """The phrases of a text, those that are only spaces as well."""
    unified = unicodedata.normalize("NFKC", regex.sub(f"[{INVISIBLE}]", "", regex.sub(NARROW_SPACES, "_", text)))
    spelled = regex.sub("[+#]", "_", spell_signs(unified))  # no other sign is one that ends a name
    apart = COMPOSED.sub(lambda number: "\n" + INSIDE_COMPOSED.sub("\n", number[0]) + "\n", spelled)
    return ENDS.sub(lambda sign: "\n" if sign[1] else sign[0], apart).split("\n")
