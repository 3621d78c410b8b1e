"""Names of templates, by what they show: those that stand in the running text of the large wikis' articles.

Names are in lower case; a bar parts those of one kind.

Source: https://en.wikipedia.org/wiki/Category:Inline_templates and the pages of the templates; their names in other
languages are those of the Wikipedias in German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish, Russian,
Japanese and Chinese.
"""

from typing import Final

from vocab.wikitext.marks import BLOCK

# Templates that show one of their arguments, with these: the first that is there is shown.
SHOW_ONE: Final = {
    "lang|rtl-lang|script|native name|nativename|langx": "text 2",
    "transl|transliteration|tlit|resize|font color|color|colour|text color": "3 2 text",
    "nowrap|nobr|nobreak|nowr|s|j|small|smaller|big|bigger|large|larger|huge|smallcaps|small caps|sc|sc2|aut|sup|sub"
    "|em|strong|bold|italic|noitalic|noital|nobold|normal|underline|strike|center|centre|mono|unicode|polytonic"
    "|hebrew|nastaliq|nq|hiragana|nihongo2|nihongo foot|gloss|literal translation|lit|ruby|ルビ|読み仮名": "text 1",
    "abbr|abbrlink|tooltip|tooltips|hover|h:title|define|term|defn|visible anchor|vanchor|vanc|annotated link|anl"
    "|tq|tqi|tq2|pull quote inline|not a typo|notatypo|proper name|sic|typo|as written|angbr|angle bracket|keypress"
    "|key press|key|kbd|citation needed span|cn-span|fact span|clarify span": "text 1",
    'référence nécessaire|refnec|passage à actualiser|zitat-inline|"|„|“|«': "texte text 1",
    "formatnombre|nombre|nb|nts|number": "1",
    "nihongo3": "3 1",
    "lien": "texte fr trad 1",
    "仮リンク": "label 1",
    "le": "3 1",
    "tsl|translink": "4 3 2",
    "нп|нп1|нп2|нп3|нп4|нп5|не переведено|не переведено 2|не переведено 3|не переведено 5": "2 1",
    "audio": "2",
}
# The same, of names that go on with the code of a language or a script.
SHOW_ONE_OF_CODE: Final = {"lang-": "text 1", "script/": "1", "link-": "3 1", "internal link helper/": "3 1"}
COUNTRIES: Final = "flag|flagcountry|flagu|flaglink|flagdeco"
QUOTATIONS: Final = (
    "quote|blockquote|quotation|cquote|bquote|rquote|centered pull quote|pull quote|poemquote|poem quote|quote box"
    "|zitat|citation|citation bloc|cita|citação|citat|cytat|citaat|citazione|цитата|引用"
)
LISTS: Final = (
    "hlist|flatlist|plainlist|plain list|unbulleted list|ubl|vunblist|bulleted list|blist|ordered list|linktext"
    "|columns-list"
)
# Images with captions: the arguments that hold these, by how their names begin, or their numbers.
CAPTIONS: Final = {
    "multiple image|multiple images|image frame|photomontage|css image crop": "caption header footer description",
    "wide image|tall image|panorama": "3 caption",
    "double image|triple image": "6 7 8 9 caption",
}
GALLERIES: Final = "gallery|image gallery|galerie"
INTERWIKI_LINKS: Final = "ill|interlanguage link|interlanguage link multi|link-interwiki|illm"
SHIPS: Final = ("USS", "HMS", "SS", "RMS", "HMAS", "HMCS", "MS", "MV", "USNS", "USCGC", "SMS", "INS", "HMNZS")
# These show a number or a word behind a word, as a reference does.
NOTES: Final = (
    "sfn|sfnp|sfnm|sfnmp|efn|efn-ua|efn-lr|efn-la|refn|r|rp|ref|notetag|note|ref label|note label|#tag:ref|cn|fact"
    "|citation needed|who|when|where|which|whom|why|how|what|by whom|according to whom|clarify|dubious|discuss|vague"
    "|clarification needed|page needed|failed verification|verify source|verification needed|better source|or"
    "|better source needed|unreliable source?|unreliable source|not in citation|full citation needed|specify"
    "|original research inline|pov statement|dead link|disambiguation needed|dn|update after|update inline"
    "|primary source inline|third-party inline|référence à confirmer|source insuffisante|refins|нет аи"
    "|cita requerida|senza fonte|carece de fontes|bron?|要出典|fakt|källa behövs|來源請求|来源请求|harvsp"
)
CONSTANTS: Final = {
    "!": "|", "=": "=", "'": "'", "'s": "'s", "s'": "s'", "`": "ʻ", "okina": "ʻ", "pipe": "|", "·": " · ", "•": " • ",
    "dot": " · ", "middot": " · ", "bullet": " • ", "ndash": "–", "mdash": "—", "mdashb": "—", "snd": " – ",
    "spnd": " – ", "snds": " – ", "spaced ndash": " – ", "spaced en dash": " – ", "spaced mdash": " — ",
    "dash": " – ", "en dash": "–", "em dash": "—", "--": "—", "nbsp": " ", "space": " ", "spaces": " ",
    "thinsp": " ", "thin space": " ", "hairsp": " ", "pad": " ", "shy": "", "wbr": "", "zwsp": "", "anchor": "",
    "-": BLOCK, "clear": BLOCK, "break": BLOCK, "br": BLOCK, "pb": BLOCK, "(": "{", ")": "}", "ad": "AD", "bc": "BC",
    "ce": "CE", "bce": "BCE", "1er": "1er", "ier": "Ier", "ire": "Ire", "av jc": "av. J.-C.", "pi": "π",
}  # fmt: skip
