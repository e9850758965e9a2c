"""Where Google's own Pub/Sub emulator (0.8.20) behaves unlike the documented service, and so unlike ours.

For `make test-google`: a listed difference is expected, and its absence is an error too; any other is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Difference:
    """Tests whose ids start so, and why they fail there; `skip` for those that would hang, or fail now and then."""

    reason: str
    tests: tuple[str, ...]
    skip: bool = False

    def covers(self, test: str) -> bool:
        return any(test == name or test.startswith((f"{name}[", f"{name}-")) for name in self.tests)


ADMIN, PUBLISH, STREAMING = (
    f"tests/emulators/pubsub/test_{name}.py::test_" for name in ("admin", "publish", "streaming")
)
CLOUD_STORAGE = "tests/emulators/pubsub/test_cloud_storage.py::test_"
CHANGE = f"{ADMIN}a_change_that_is_not_allowed_changes_nothing["
SETTING = f"{ADMIN}a_subscription_setting_that_cannot_be_kept_is_refused["
TOPIC_SETTING = f"{ADMIN}a_topic_setting_that_cannot_be_kept_is_refused["
LIMIT = f"{PUBLISH}a_request_over_a_limit_is_refused_whole["
BEGINS, REQUEST = (
    f"{STREAMING}a_stream_that_begins_wrongly_is_refused",
    f"{STREAMING}a_request_that_makes_no_sense_ends_the_stream",
)

DIFFERENCES = (
    Difference(
        "the same status in other words than the service's",
        (
            f"{ADMIN}a_name_against_the_rules_is_refused",
            f"{ADMIN}a_subscription_needs_its_topics_and_a_new_name",
            f"{ADMIN}a_topic_is_made_once_read_listed_and_deleted",
            f"{CHANGE}paths3",
            f"{CHANGE}paths4",
            f"{LIMIT}-One or more messages in the pu0]",
            f"{LIMIT}-One or more messages in the pu1]",
            f"{LIMIT}-message_count is too large. Yo]",
            f"{LIMIT}-message_count is too small]",
            f"{PUBLISH}an_ack_id_of_another_subscription_is_refused",
            f"{PUBLISH}publishing_to_a_missing_topic_says_which",
            f"{PUBLISH}seek_replays_what_is_retained",
            BEGINS,
            *(f"{REQUEST}[later{number}" for number in (0, 3, 4, 5, 6, 7)),
        ),
    ),
    Difference(
        "checks less: this is accepted there, and refused by the service",
        (
            f"{ADMIN}pages_follow_each_other_while_topics_come_and_go",
            f"{CHANGE}paths6",
            f"{SETTING}ack_deadline_seconds-0]",
            f"{SETTING}expiration_policy",
            f"{TOPIC_SETTING}labels",
            f"{LIMIT}-Request payload size exceeds t0]",
            f"{LIMIT}-attribute key length is too la0]",
            f"{LIMIT}-attribute key length is too la1]",
            f"{LIMIT}-attribute key must not be empt]",
            f"{LIMIT}-attribute value length is too ]",
            f"{LIMIT}-attribute_count is too large]",
            f"{LIMIT}-message.data is too large]",
            f"{LIMIT}-ordering_key length is too lar]",
            f"{PUBLISH}a_request_with_too_many_ack_ids_is_refused_by_its_size",
        ),
    ),
    Difference(
        "another status: OUT_OF_RANGE or NOT_FOUND for INVALID_ARGUMENT",
        (f"{SETTING}dead_letter_policy", f"{CHANGE}paths8"),
    ),
    Difference(
        "implements what ours refuses as not supported",
        (
            f"{ADMIN}what_is_not_there_says_so_by_name",
            f"{CHANGE}paths7",
            *(
                f"{SETTING}{name}"
                for name in ("bigquery_config", "enable_exactly_once_delivery", "filter", "push_config")
            ),
            f"{SETTING}enable_message_ordering",
            *(
                f"{TOPIC_SETTING}{name}"
                for name in ("ingestion_data_source_settings", "kms_key_name", "schema_settings")
            ),
            f"{PUBLISH}seek_back_where_the_topic_retains_is_refused_rather_than_answered_in_part",
        ),
    ),
    Difference(
        "has no update of labels and expiration_policy",
        (
            f"{ADMIN}a_subscription_changes_only_in_masked_fields",
            f"{ADMIN}a_topic_changes_only_in_masked_fields",
            f"{ADMIN}subscriptions_outlive_their_topic_and_do_not_join_a_new_one_of_its_name",
        ),
    ),
    Difference(
        "keeps a Cloud Storage configuration unchecked and without defaults, and lets its subscription pull",
        (
            f"{CLOUD_STORAGE}a_configuration_that_cannot_be_kept_is_refused",
            f"{CLOUD_STORAGE}an_object_may_not_be_open_longer_than_the_ack_deadline",
            f"{CLOUD_STORAGE}nobody_pulls_what_is_written_to_a_bucket",
            f"{CLOUD_STORAGE}the_documented_defaults_are_filled_in",
        ),
    ),
    Difference(
        "writes nothing to Cloud Storage, where these tests wait for it",
        (
            f"{CLOUD_STORAGE}a_change_of_the_bucket_holds_for_what_comes_after",
            f"{CLOUD_STORAGE}a_filter_keeps_messages_out_that_have_an_attribute",
            f"{CLOUD_STORAGE}an_object_holds_whole_messages_in_the_documented_schema",
            f"{CLOUD_STORAGE}without_metadata_the_data_alone_is_written",
        ),
        skip=True,
    ),
    Difference(
        "has no DetachSubscription",
        (
            f"{ADMIN}a_detached_subscription_cannot_be_pulled_and_holds_nothing",
            f"{STREAMING}a_stream_ends_when_its_subscription_is_deleted_or_detached",
        ),
    ),
    Difference("shows no default expiration_policy", (f"{ADMIN}a_subscription_gets_the_documented_defaults",)),
    Difference(
        "redelivers a nacked message at once, whatever the retry policy",
        (f"{PUBLISH}a_nacked_message_waits_for_the_retry_policy",),
    ),
    Difference(
        "ignores flow control",
        (
            f"{STREAMING}flow_control_by_bytes_holds_until_acks_come",
            f"{STREAMING}flow_control_by_messages_holds_until_acks_come",
        ),
    ),
    Difference(
        "a Pull answers early without messages, and its answer may exceed gRPC's default limit of 4 MiB",
        (
            f"{PUBLISH}a_pull_that_its_client_gave_up_takes_nothing",
            f"{PUBLISH}large_messages_are_pulled_in_answers_below_the_default_receive_cap",
        ),
    ),
    Difference(
        "a stream that has ended keeps a share of what is published for ever, so restarts strand messages",
        (
            "tests/loader/test_process.py::test_nothing_is_lost_between_one_loader_and_the_next",
            "tests/loader/test_service.py::test_stopping_gives_back_what_bigquery_does_not_take",
            "tests/shared/test_subscriber.py::test_draining_gives_back_what_was_not_taken",
            "tests/shared/test_subscriber.py::test_what_comes_after_draining_goes_to_others_at_its_first_delivery",
        ),
        skip=True,
    ),
    Difference(
        "never answers, or goes on with a stream that the service ends",
        (
            f"{PUBLISH}a_receiving_call_that_makes_no_sense_is_refused[pull-fields7]",
            f"{REQUEST}[later1",
            f"{REQUEST}[later2",
            f"{STREAMING}a_broken_stream_keeps_its_leases",
            f"{STREAMING}a_stream_that_does_not_read_takes_little_and_blocks_nobody",
            f"{LIMIT}-Request payload size exceeds t1]",
        ),
        skip=True,
    ),
)


def mark(items: list[pytest.Item]) -> None:
    """Expect the differences."""
    for item in items:
        for difference in DIFFERENCES:
            if difference.covers(item.nodeid):
                reason = f"Google's emulator: {difference.reason}"
                item.add_marker(
                    pytest.mark.skip(reason=reason)
                    if difference.skip
                    else pytest.mark.xfail(reason=reason, strict=True)
                )
