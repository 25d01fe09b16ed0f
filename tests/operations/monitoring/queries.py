"""Asks a Prometheus for every query of deploy/monitoring: none may fail, and none may have an empty answer but those below.

    queries.py ADDRESS SECONDS INTERVAL     how long and how often it has scraped
"""

import json
import math
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

DASHBOARDS = pathlib.Path(__file__).parents[3] / "deploy/monitoring/dashboards"

# What a healthy worker behind a bare caller has no data for. A selector or query that contains the words may be empty.
MAY_BE_EMPTY = {
    "ALERTS": "nothing is wrong",
    "network_transit": "only frontends send the time at which they began",
    "dynamo_component_errors_total": "counted from the first error that is not a caller's mistake",
    "dynamo_vllm_errors:ratio_rate5m": "likewise",
    'outcome="unanswered"': "every caller could be answered",
    "dynamo_vllm_event_messages_failed_total": "counted from the first failure",
    "dynamo_vllm_event_messages_dropped_total": "counted from the first loss",
    "dynamo_vllm_spans_total": "only with OTEL_EXPORT_ENABLED",
    "dynamo_vllm_metric_exports_total": "only with OTEL_METRICS_EXPORTER",
    "dynamo_vllm_traced_passes_total": "only with --fpm-trace",
}

# A selector of a series in a rule, with its labels if it has some: our families, vLLM's and those of every process.
SELECTOR = re.compile(r"\b(?:dynamo_\w+|vllm:\w+|process_\w+|instance:\w+:\w+|instance:\w+|up)\b(?:\{[^}]*\})?")

# Two workers with all roles' families make some 800 series each.
SERIES_MAX = 1500

failures: list[str] = []


class Prometheus:
    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **parameters: Any) -> Any:
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"{self._address}/api/v1/{path}?{query}", timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error

    def ask(self, query: str) -> list[Any]:
        return list(self.get("query", query=query)["result"])

    def text(self) -> str:
        with urllib.request.urlopen(f"{self._address}/metrics", timeout=20) as answer:
            return str(answer.read(), "utf-8")


def has_number(result: list[Any]) -> bool:
    return any(not math.isnan(float(series["value"][1])) for series in result)


def may_be_empty(query: str) -> bool:
    return any(words in query for words in MAY_BE_EMPTY)


def expect(prometheus: Prometheus, place: str, query: str, is_empty_fine: bool = False) -> None:
    try:
        if not has_number(prometheus.ask(query)) and not is_empty_fine and not may_be_empty(query):
            failures.append(f"{place}: no data: {query}")
    except ValueError as error:
        failures.append(f"{place}: {error}: {query}")


def chosen(query: str, window: int) -> str:
    query = query.replace("$__rate_interval", f"{window}s")
    return re.sub(r"\$(namespace|component|model|instance)", ".+", query)


def ask_dashboards(prometheus: Prometheus, window: int) -> int:
    count = 0
    for path in sorted(DASHBOARDS.glob("*.json")):
        board = json.loads(path.read_text())
        for each in board["templating"]["list"]:
            if each["type"] == "query":
                count += 1
                match = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
                assert match, each["query"]
                values = prometheus.get(f"label/{match[2]}/values", **{"match[]": chosen(match[1], window)})
                if not values:
                    failures.append(f"{path.name}, variable {each['name']}: no values")
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                count += 1
                expect(prometheus, f"{path.name}, {panel['title']}", chosen(target["expr"], window))
    return count


def ask_rules(prometheus: Prometheus) -> int:
    count = 0
    for group in prometheus.get("rules")["groups"]:
        for rule in group["rules"]:
            count += 1
            name, query = rule["name"], rule["query"]
            if rule["health"] != "ok":
                failures.append(f"{name}: {rule['health']}: {rule.get('lastError')}")
            # An alert that is silent is empty: then what it is made of has to be there.
            expect(prometheus, name, query, is_empty_fine=rule["type"] == "alerting")
            for selector in set(SELECTOR.findall(query)):
                count += 1
                # A state that another series of the worker is in has the value 0, so each selector but a pattern finds one.
                expect(prometheus, f"{name}, {selector}", selector)
    firing = [alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]]
    if firing:
        failures.append(f"alerts of healthy workers: {firing}")
    return count


def check_scrapes(prometheus: Prometheus, seconds: int, interval: int) -> None:
    job = 'job="dynamo-worker"'
    for series in prometheus.ask(f"up{{{job}}}[{seconds}s]"):
        times = [float(time) for time, _ in series["values"]]
        down = [time for time, value in series["values"] if value != "1"]
        gap = max((later - earlier for earlier, later in zip(times, times[1:])), default=math.inf)
        place = series["metric"]["instance"]
        print(f"{place}: {len(times)} scrapes in {seconds} s, the longest way from one to the next {gap:.2f} s")
        # A busy machine may be late by half a second; one scrape that is missing is a gap of two intervals.
        if down or gap > 1.5 * interval + 0.4 or len(times) < 0.8 * seconds / interval:
            failures.append(f"{place}: {len(times)} scrapes, {len(down)} failed, a gap of {gap:.1f} s")
    slowest = max(float(series["value"][1]) for series in prometheus.ask(f"max_over_time(scrape_duration_seconds{{{job}}}[{seconds}s])"))
    print(f"the slowest scrape took {slowest * 1000:.0f} ms")

    # Prometheus drops the second of two equal series of one scrape and counts it.
    for kind in ("duplicate_timestamp", "out_of_order", "out_of_bounds"):
        counted = re.search(rf"^prometheus_target_scrapes_sample_{kind}_total (\S+)$", prometheus.text(), re.MULTILINE)
        if counted is None or float(counted[1]) != 0:
            failures.append(f"samples with {kind}: {counted and counted[1]}")
    half = seconds // 2
    for series in prometheus.ask(f"scrape_samples_scraped{{{job}}}"):
        place, now = series["metric"]["instance"], float(series["value"][1])
        then = float(prometheus.ask(f'scrape_samples_scraped{{{job},instance="{place}"}} offset {half}s')[0]["value"][1])
        print(f"{place}: {now:.0f} series, {then:.0f} {half} s before")
        # An outcome, a reason or an error that is seen for the first time is a series more; requests are none.
        if now > SERIES_MAX or now - then > 8:
            failures.append(f"{place}: {now:.0f} series, {then:.0f} {half} s before")


def main() -> None:
    address, seconds, interval = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    prometheus = Prometheus(address)
    count = ask_dashboards(prometheus, window=max(8, 4 * interval)) + ask_rules(prometheus)
    check_scrapes(prometheus, seconds, interval)
    for failure in failures:
        print(f"    {failure}")
    print(f"queries: {count} asked, {len(failures)} problems; no gap, no duplicate, no series for a request")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
