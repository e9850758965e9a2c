"""The view `reconciliation`: per hour of receipt and protocol, what was acknowledged and what of it arrived. Pure.

It reads the tallies, not the rows: so it costs little, and stays right when duplicates are removed, people forgotten or
days expired. A collector's totals only grow, so the largest counts; a pack's first receipt counts, however often the
pack was loaded; of dead letters the last count holds. Rows that were appended twice are the same in everything.
"""

from __future__ import annotations

from services.shared import tally
from services.shared.schema import LOG_SUFFIX, RECONCILIATION, TALLIES, Table

OPEN_MINUTES = 15  # after its end, in which an hour's hits may be on their way
SILENT_MINUTES = 3  # without a tally: a collector has ended
LOST_SECONDS = 90  # of counts that such a collector may not have told: a tally's minute, and the time to send it

_ARRIVED = (tally.LOADED, tally.REJECTED, tally.SAMPLED_OUT, tally.DEAD_LETTERED)
_OUTCOMES = (
    tally.ACKNOWLEDGED, tally.LOADED, tally.REJECTED, tally.SAMPLED_OUT, tally.DEAD_LETTERED, tally.DROPPED,
    tally.REFUSED, tally.INGESTED,
)  # fmt: skip
DESCRIPTION = (
    "Per hour of receipt and protocol: hits acknowledged, and what became of them; a `difference` above 0 is missing: "
    "see docs/guarantees.md"
)


def table() -> Table:
    """What names the view; nothing is stored."""
    return Table(name=RECONCILIATION, columns=(), partition="day", description=DESCRIPTION)


def sql(project: str, dataset: str) -> str:
    """Filter on `day`, the UTC day of the hour."""
    tallies = f"`{project}.{dataset}.{TALLIES}{LOG_SUFFIX}`"
    sums = "".join(f"    SUM(IF(`outcome` = '{one}', `hits`, 0)) AS `{one}`,\n" for one in _OUTCOMES)
    left = " - ".join(f"`{one}`" for one in (tally.ACKNOWLEDGED, *_ARRIVED))
    listed = "".join(f"  `{one}`,\n" for one in _OUTCOMES)
    return f"""WITH counted AS (
  SELECT `day`, `hour`, `protocol`, `outcome`, MAX(`hits`) AS `hits`
  FROM {tallies}
  WHERE `source` = '{tally.COLLECTOR}'
  GROUP BY `day`, `hour`, `protocol`, `outcome`, `tenant`, `tally_id`
  UNION ALL
  SELECT `day`, `hour`, `protocol`, `outcome`, `hits`
  FROM (
    SELECT DISTINCT `day`, `tally_id`, `hour`, `protocol`, `outcome`, `hits`, `received_at`,
      MIN(`received_at`) OVER (PARTITION BY `day`, `tally_id`) AS `first_at`
    FROM {tallies}
    WHERE `source` = '{tally.LOADER}'
  )
  WHERE `received_at` = `first_at`
  UNION ALL
  SELECT DISTINCT `day`, `hour`, `protocol`, `outcome`, `hits`
  FROM {tallies}
  WHERE `source` = '{tally.DEAD_LETTERS}'
    AND `received_at` = (SELECT MAX(`received_at`) FROM {tallies} WHERE `source` = '{tally.DEAD_LETTERS}')
), summed AS (
  SELECT `day`, `hour`, `protocol`,
{sums}    `hour` > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {60 + OPEN_MINUTES} MINUTE) AS `is_open`
  FROM counted
  WHERE `hour` IS NOT NULL
  GROUP BY `day`, `hour`, `protocol`
), ended AS (
  SELECT `tally_id`, MAX(`received_at`) AS `last_at`
  FROM {tallies}
  WHERE `source` = '{tally.COLLECTOR}'
  GROUP BY `tally_id`
  HAVING NOT LOGICAL_OR(`final`)
    AND MAX(`received_at`) < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {SILENT_MINUTES} MINUTE)
), unfinished AS (
  SELECT `hour`, COUNT(*) AS `collectors`
  FROM (
    SELECT `tally_id`, TIMESTAMP_TRUNC(`last_at`, HOUR) AS `hour` FROM ended
    UNION DISTINCT
    SELECT `tally_id`, TIMESTAMP_TRUNC(TIMESTAMP_ADD(`last_at`, INTERVAL {LOST_SECONDS} SECOND), HOUR) FROM ended
  )
  GROUP BY `hour`
)
SELECT
  summed.`day`,
  summed.`hour`,
  `protocol`,
{listed}  IF(`is_open`, {left}, 0) AS `in_flight`,
  IF(`is_open`, 0, {left}) AS `difference`,
  IFNULL(unfinished.`collectors`, 0) AS `unfinished_collectors`
FROM summed
LEFT JOIN unfinished ON summed.`hour` = unfinished.`hour`"""  # noqa: S608 - our own names
