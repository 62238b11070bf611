"""The record of a cluster run: a row for every picture, and a manifest when the run is done.

During the run, the rows are in a folder of their own in the output folder, one small Parquet file
for each picture, written right after its outputs. So whatever dies, driver or worker, it is known
what was finished, and that is not done again.

Ray Data's own checkpoints do the same, but only for datasets that end in one of its writers: a
task and two files for every block. With one picture to a block, which a crash shall not lose, that
costs more than a second for each; these rows cost a few milliseconds.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from handrefiner_ext.cluster.store import Store
from handrefiner_ext.errors import UsageError
from handrefiner_ext.files.tries import FOLDER, TRIES, Tries

MANIFEST = "handrefiner_manifest.parquet"
SETTINGS = "settings.json"
ENDING = ".parquet"
KEY = "key"
STAMP = "stamp"
"""Columns of a row in the folder, not in the manifest."""
SCHEMA = pa.schema(
    [
        ("picture", pa.string()),
        ("output", pa.string()),
        ("hands", pa.int32()),
        ("repainted", pa.int32()),
        ("said", pa.list_(pa.string())),
        ("error", pa.string()),
        ("worker", pa.string()),
        ("finished", pa.timestamp("us", tz="UTC")),
        ("seconds", pa.float64()),
        ("log", pa.list_(pa.string())),
    ]
)
"""error: the sentence where the picture failed, else null. said: a line for every hand. log: a line
for every output, as --log_json writes them."""

ROW_SCHEMA = SCHEMA.append(pa.field(KEY, pa.string())).append(pa.field(STAMP, pa.string()))
Row = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """The rows of one run, and of earlier runs that were not finished.

    out: the output folder. run: a word that no other run has.
    """

    out: Store
    run: str

    @property
    def rows(self) -> Store:
        return self.out.inside(FOLDER).inside("rows")

    @property
    def tries(self) -> Store:
        return self.out.inside(FOLDER).inside(TRIES)

    def begin(self, settings: Mapping[str, str]) -> None:
        """Open the folder; UsageError if it holds an unfinished run with other settings."""
        place = self.out.inside(FOLDER)
        for store in (place, self.rows, self.tries):
            store.make()
        if not place.holds(SETTINGS):
            place.write(SETTINGS, json.dumps(dict(settings)).encode())
            return
        before = json.loads(place.read(SETTINGS))
        for name in sorted({*before, *settings}):
            was, wanted = before.get(name), settings.get(name)
            if was != wanted:
                raise UsageError(
                    f"{self.out.url} holds a run that was not finished, with {name} {was} and not "
                    f"{wanted}; finish it with that, or delete {place.url} to start again."
                )

    def finished(self) -> dict[str, str]:
        """Return key -> stamp of the pictures that earlier runs finished without failing."""
        rows = self.read()
        return {key: row.get(STAMP) or "" for key, row in rows.items() if row["error"] is None}

    def find(self, key: str) -> Row | None:
        """Return a picture's row; None if it has none yet."""
        if not self.rows.holds(key + ENDING):
            return None
        table = parquet.read_table(io.BytesIO(self.rows.read(key + ENDING)))
        row: Row = table.to_pylist()[0]
        return row

    def write(self, key: str, row: Row, stamp: str = "") -> None:
        """Write a picture's row. stamp: of the picture as it was read."""
        self.rows.write(key + ENDING, _to_parquet([row | {KEY: key, STAMP: stamp}], ROW_SCHEMA))

    def read(self) -> dict[str, Row]:
        """Return all rows by key."""
        names = [name for name in self.rows.names() if name.endswith(ENDING)]
        if not names:
            return {}
        paths = [self.rows.path(name) for name in names]
        read = parquet.ParquetDataset(paths, filesystem=self.rows.filesystem).read()
        return {row[KEY]: row for row in read.to_pylist()}

    def count_try(self, name: str) -> int:
        """Return how often this run has started with `name`, this time included."""
        return Tries(self.tries).add(name, self.run)

    def close(self, keys: Iterable[str]) -> None:
        """Write the manifest, a row for each of `keys` in their order, and remove the folder."""
        rows = self.read()
        self.out.write(MANIFEST, _to_parquet([rows[key] for key in keys], SCHEMA))
        self.out.inside(FOLDER).remove()


def _to_parquet(rows: list[Row], schema: pa.Schema) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()
