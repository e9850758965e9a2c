"""Names of parameters that say who somebody is, as people and the trackers of `protocols/` write them.

They are compared without case and without `-`, `_`, `.`, `$` and spaces: `user_id` is also `userId` and `$user-id`.
"""

from __future__ import annotations

# Secrets that are also words of their own: these are the whole name, or a whole part of it (`user[card]`, `a.pin`), and
# not the end of one: product_card and map_pin are no secrets. All others may end a name: user_password, x-api-key.
WHOLE_SECRETS = frozenset({"card", "pin"})
# These are secrets wherever they stand in a name: passwordConfirmation, oldpassword2.
WITHIN = ("password", "passwd", "passphrase")

# Parameters that may hold an address; a value that is none, such as Mixpanel's `ip=1`, stays.
ADDRESSES = (
    "ip", "ips", "ip_address", "ip_addr", "ip_override", "ipv4", "ipv6", "remote_addr", "remote_address",
    "client_addr", "client_address", "forwarded_for",
)  # fmt: skip
WHOLE_ADDRESSES = ("uip", "cip")

# What goes under an opt-out. An event's own id (event_id, messageId, $insert_id, eid, insert_id, uuid, id, order_id,
# pv_id) is none of them: by it the event counts once.
IDS = (
    "user_id", "customer_id", "member_id", "account_id", "person_id", "profile_id", "contact_id", "subscriber_id",
    "external_id", "visitor_id", "anonymous_id", "anon_id", "distinct_id", "previous_id", "device_id", "device_uuid",
    "client_id", "app_instance_id", "session_id", "window_id", "idfa", "idfv", "gaid", "advertising_id", "android_id",
    "click_id", "email", "email_address", "phone", "phone_number", "telephone", "msisdn", "first_name", "last_name",
    "full_name", "given_name", "family_name", "middle_name", "surname", "username", "nickname", "birthday",
    "birth_date", "date_of_birth", "street", "address", "postal_code", "city", "city_name", "latitude", "longitude",
    "coordinates", "fingerprint", "user_agent", "user_agent_data",
)  # fmt: skip
WHOLE_IDS = (
    # people and browsers: Snowplow's, GA4's, Matomo's, and cookies of others that pages pass on
    "uid", "duid", "nuid", "tnuid", "sid", "cid", "_id", "_ga", "_gid", "_gl", "_fbp", "_fbc", "fbp", "fbc", "fp",
    "_sp", "muid", "suid", "cuid", "ajs_uid", "ajs_aid", "adid", "aaid", "alias", "mail", "tel", "dob", "lat", "lon",
    "lng", "location_lat", "location_lng", "zip",
    # what is known of a person, as a whole
    "traits", "ajs_traits", "user_properties", "user_data", "$set", "$set_once",
    # browsers beyond their class; the last ones are GA4's client hints
    "ua", "uadata", "uaa", "uab", "uafvl", "uam", "uamb", "uap", "uapv", "uaw",
    # ids of clicks
    "gclid", "dclid", "wbraid", "gbraid", "fbclid", "msclkid", "ttclid", "twclid", "li_fat_id", "yclid", "ysclid",
    "igshid", "igsh", "mc_eid", "_hsenc", "_hsmi", "vero_id", "mkt_tok", "epik", "rdt_cid", "sccid", "irclickid",
    "wickedid", "oly_enc_id", "oly_anon_id", "ef_id", "srsltid", "qclid", "obclid", "tblci", "_kx",
)  # fmt: skip
# Names that say who it is in one protocol only; elsewhere they are something else.
IDS_OF = {
    "cloudevents": ("subject",),
    "gtag": ("_fid", "em", "auid", "ecid"),  # an installation, a hashed e-mail address, ids of advertising
    "jitsu": ("device",),  # an object with an id of its own
    "matomo": ("long",),  # beside lat
    "rudderstack": ("device",),
    "segment": ("device",),
    "umami": ("id", "vid"),
}
GROUPS_OF = {"gtag": ("up", "upn")}  # up.NAME are a user's properties

# What else a protocol calls the parameters that may be hashed, and what its reader compares them with: PostHog's person
# is anonymous where `distinct_id` is `$device_id`, so they are hashed alike.
SPELLINGS = {
    "userid": ("uid", "distinctid", "anondistinctid", "$device_id", "previousid"),
    "anonymousid": ("deviceid", "clientid", "cid", "appinstanceid", "duid", "nuid", "tnuid"),
    "sessionid": ("sid", "gasessionid"),
    "email": ("emailaddress", "mail"),
    "phone": ("phonenumber", "tel", "telephone"),
}
SPELLINGS_OF = {
    "cloudevents": {"userid": ("subject",)},
    "matomo": {"anonymousid": ("_id",)},
    "umami": {"userid": ("id",), "anonymousid": ("vid",)},
}

# Headers that are never kept, beside those that a secret is named after; and those that go under an opt-out, by how
# they begin.
COOKIES = ("cookie", "set-cookie")
TRACKING_HEADERS = ("sec-ch-", "device-memory", "dpr", "viewport-width", "downlink", "ect", "rtt", "if-none-match")
