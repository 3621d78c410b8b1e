"""E-mail addresses and telephone numbers taken out of texts.

In: a text. Out: the text without them, as `pipeline.base.personal_data` finds them.
"""

from pipeline.base.personal_data import find_emails, find_phones, without


def scrub_contacts(text: str) -> str:
    """A text without e-mail addresses and telephone numbers.

    >>> scrub_contacts("Call +49 30 123456 or mail joe@shop.example, since 1999-2020")
    'Call or mail , since 1999-2020'
    """
    scrubbed = without(text, find_emails(text))
    scrubbed = without(scrubbed, find_phones(scrubbed))
    return " ".join(scrubbed.split()) if scrubbed != text else text
