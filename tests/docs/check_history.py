#!/usr/bin/env python3
"""Fails if README.md's tables of history.jsonl differ from what the server writes.

The fields that it can write are those in server/point.c (reports) and server/record.c (decisions), which alone make them; each
has to be in a table, and each of a table there. Then real runs of the digits job are made, and every line must have the fields that the tables say
it has, with values of the right kind.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

root = os.environ.get("SP_SOURCE_ROOT", ".")
tool = os.path.abspath(sys.argv[1])

# File and functions in it -> the table that has their fields.
MAKERS = (
    ("server/point.c", ("sp_point_json", "put_signs", "put_evaluation", "put_times"), "report"),
    ("server/record.c", ("suspect_json", "event_json", "put_numbers"), "decision"),
)

# What stands in a table's column 'when' -> whether a line has the field; None: it may.
WHEN = {
    "report": {
        "always": lambda line: True,
        "sign or margin": lambda line: line["phase"] != "sgd",
        "sgd": lambda line: line["phase"] == "sgd",
        "evaluation": lambda line: "test_accuracy" in line,
        "times known": lambda line: "round_ms" in line,
    },
    "decision": {
        "always": lambda line: True,
        "not quarantine": lambda line: line["event"] != "quarantine",
        "quarantine": lambda line: line["event"] == "quarantine",
        "a rate": lambda line: "rule" in line,
        "a bound acted": lambda line: None,
    },
}

WORDS = {"phase", "event", "to", "test", "reason", "rule"}
RUNS = (
    ("as shipped", ()),
    ("dry run, margin", ("optimizer.start=margin", "optimizer.switch.dry_run=true", "train.epochs=8")),
    ("a bound, and a rule that goes by statistics", ("optimizer.sgd.lambda=ratio", "optimizer.sgd.lambda_max=1e-4", "train.epochs=8")),
    ("refusal", ("optimizer.sgd.lambda=ratio", "optimizer.switch.when=at", "optimizer.switch.step=1", "train.epochs=2")),
)

wrong = []


def readme_tables():
    """The two tables: field -> (unit, when)."""
    tables, table = {"report": {}, "decision": {}}, None
    with open(os.path.join(root, "README.md"), encoding="utf-8") as readme:
        for line in readme:
            head = re.match(r"\| (report|decision) \| unit \| when \| meaning \|$", line)
            row = re.match(r"\| `([a-z0-9_]+)` \| ([^|]*) ?\| ([^|]+) \| ([^|]+) \|$", line)
            if head:
                table = tables[head[1]]
            elif not line.startswith("|"):
                table = None
            elif table is not None and row:
                if row[1] in table:
                    wrong.append(f"README.md has {row[1]} twice in one table")
                table[row[1]] = (row[2].strip(), row[3])
            elif table is not None and not re.match(r"\|(---\|)+$", line):
                wrong.append(f"a row of README.md's table cannot be read: {line.strip()}")
    return tables


def functions_of(path):
    with open(os.path.join(root, path), encoding="utf-8") as source:
        return re.split(r"\n(?=[a-z].*\)\n\{)", source.read())


def code_fields():
    """What the server can write, by table."""
    fields = {"report": set(), "decision": set()}
    for path, names, table in MAKERS:
        functions = functions_of(path)
        for name in names:
            body = [f for f in functions if re.match(rf"(static )?\w+ \*?{name}\(", f)]
            if len(body) != 1:
                sys.exit(f"{path} has {len(body)} functions {name}(): this test has to go along")
            body = body[0].split("\n}\n")[0]
            found = set(re.findall(r'sp_json_put\(&?line, "(\w+)"', body))
            found |= {word for both in re.findall(r'sp_json_put\(&line, \w+ \? "(\w+)" : "(\w+)"', body) for word in both}
            found |= set(re.findall(r'\{"(\w+)", \w+->', body))
            if not found:
                sys.exit(f"{name}() writes nothing: this test has to go along")
            fields[table] |= found
    return fields


def compare(tables, fields):
    for table in tables:
        wrong.extend(f"README.md lacks {name} of a {table}" for name in sorted(fields[table] - tables[table].keys()))
        wrong.extend(f"README.md has {name} of a {table}, the server does not" for name in sorted(tables[table].keys() - fields[table]))
        wrong.extend(f"{name}: README.md says '{when}', which this test does not know"
                     for name, (_, when) in tables[table].items() if when not in WHEN[table])


def kind_is_right(name, value, unit):
    if name in WORDS:
        return isinstance(value, str)
    if unit == "true, false":
        return isinstance(value, bool)
    if name == "lambda" and isinstance(value, dict):
        return len(value) > 0 and all(isinstance(rate, float) for rate in value.values())
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def check_line(line, table, name):
    for field, (unit, when) in table.items():
        due = WHEN[name][when](line)
        if due is not None and due != (field in line):
            wrong.append(f"{field} is {'missing in' if due else 'in'} {json.dumps(line)}, README.md says '{when}'")
        if field in line and not kind_is_right(field, line[field], unit):
            wrong.append(f"{field} is {json.dumps(line[field])}, README.md says '{unit}'")
    wrong.extend(f"{field} is in {json.dumps(line)}, and not in README.md" for field in line if field not in table)


def run(folder, name, sets):
    argv = [tool, "run", os.path.join(root, "configs/digits.yaml"), "--out", "run", "--fresh", "--set", "server.listen=127.0.0.1:0"]
    for item in sets:
        argv += ["--set", item]
    made = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if made.returncode != 0:
        sys.exit(f"the run '{name}' failed: {made.stderr}")
    with open(os.path.join(folder, "run/history.jsonl"), encoding="utf-8") as history:
        return [json.loads(line) for line in history]


def main():
    tables, seen = readme_tables(), set()
    compare(tables, code_fields())
    with tempfile.TemporaryDirectory(prefix="sp-", dir="/tmp") as folder:
        for name, sets in RUNS if not wrong else ():
            for line in run(folder, name, sets):
                kind = "decision" if "event" in line else "report"
                check_line(line, tables[kind], kind)
                seen |= {(kind, field) for field in line} | {("event", line.get("event"))}
    if not wrong:
        made = {("report", field) for field in tables["report"]} | {("event", e) for e in ("switch", "rates", "dry_run", "refusal")}
        made |= {("decision", f) for f, (_, when) in tables["decision"].items() if when != "quarantine"}
        wrong.extend(f"no run had {name} of a {kind}: this test looks at too little" for kind, name in sorted(made - seen))
    print("\n".join(wrong[:40]) or f"{sum(map(len, tables.values()))} fields agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
