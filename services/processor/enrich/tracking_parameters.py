"""Parameters that say where a click came from and not what a page shows: campaigns, and ids of clicks and mails.

One list: `utm.py` reads some of them, `page.py` leaves all of them out of `url.clean`.
"""

from __future__ import annotations

UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "utm_id")
# Ids that ad networks append to a link; the first one present counts.
CLICK_IDS = (
    "gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "li_fat_id", "yclid",
)  # fmt: skip
# In lower case, as all names are compared.
_OTHERS = (
    # Google, Meta, Microsoft, Pinterest, Reddit, Snapchat, Yandex, Taboola, Outbrain, Quora, Impact
    "_ga", "_gl", "gclsrc", "gad_source", "gad_campaignid", "srsltid", "fbc", "fbp", "igsh", "igshid", "mibextid",
    "cvid", "epik", "rdt_cid", "sccid", "ysclid", "ymclid", "tblci", "obclid", "dicbo", "qclid", "irclickid", "irgwc",
    # mail and marketing: Mailchimp, HubSpot, Marketo, Klaviyo, Drip, Vero, Omeda, Wicked Reports, Adobe, Openstat
    "mc_cid", "mc_eid", "mkt_tok", "_kx", "__s", "vero_id", "vero_conv", "oly_enc_id", "oly_anon_id", "wickedid",
    "s_cid", "s_kwcid", "ef_id", "_openstat", "_branch_match_id", "_branch_referrer",
)  # fmt: skip
# And all that begins so.
_PREFIXES = ("utm_", "mtm_", "matomo_", "piwik_", "pk_", "hsa_", "_hs", "__hs", "trk_")
_NAMES = frozenset((*CLICK_IDS, *_OTHERS))


def is_tracking(name: str) -> bool:
    """Whether a parameter of a page's query string is one of them."""
    name = name.lower()
    return name in _NAMES or name.startswith(_PREFIXES)
