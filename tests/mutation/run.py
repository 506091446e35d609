"""Mutation testing: plants faults in the rooms of training data, models and sizes, one by one, and counts what no test
notices. How to run it, and what was found last: README.md beside this file.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import os
import random
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[2]
PLACE = ROOT / 'build' / 'mutation'
ALSO_NEEDED = ('ops/*.so',)  # ignored by git
# What `mutmut run` begins with: to draw a sample, one has to know what there is.
GENERATE = 'from mutmut.__main__ import *; copy_src_dir(); copy_also_copy_files(); create_mutants(1)'
STATUS = {0: 'survived', 1: 'killed', 3: 'killed', 33: 'no tests', -24: 'timeout', 24: 'timeout', None: 'not run'}


def copy_checkout(patterns: list[str]) -> None:
    """Copies what git knows, or would add, to `PLACE`; files that have not changed keep their earlier results."""
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, stdout=subprocess.PIPE)
    names = [name for name in listed.stdout.decode().split('\0') if (ROOT / name).is_file()]
    names += [str(path.relative_to(ROOT)) for pattern in ALSO_NEEDED for path in ROOT.glob(pattern)]
    mutated = {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}
    shutil.rmtree(PLACE / 'mutants' / 'tests', ignore_errors=True)
    for name in names:
        source, target = ROOT / name, PLACE / name
        content = without_decorators(source.read_text()).encode() if name in mutated else source.read_bytes()
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            (PLACE / 'mutants' / name).unlink(missing_ok=True)
            if name.startswith('gsasr_plugin/'):  # its functions may be called by other tests now
                (PLACE / 'mutants' / 'mutmut-stats.json').unlink(missing_ok=True)
    for path in PLACE.rglob('*.py'):
        name = str(path.relative_to(PLACE))
        if name.removeprefix('mutants/') not in names:
            path.unlink()
            path.with_name(path.name + '.meta').unlink(missing_ok=True)


def without_decorators(code: str) -> str:
    """The module, its functions decorated by assignments: mutmut leaves out what stands below a decorator."""
    lines = code.splitlines()
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: -node.lineno):  # from below: line numbers above stay valid
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if not decorators or decorators[0] in ('staticmethod', 'classmethod') or decorators[0].endswith('.setter'):
            continue
        value = node.name
        for decorator in reversed(decorators):
            value = f'{decorator}({value})'
        lines.insert(node.end_lineno or 0, f'{" " * node.col_offset}{node.name} = {value}')
        del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return '\n'.join(lines) + '\n'


def results() -> dict[str, dict[str, int | None]]:
    """What became of each mutant (pytest's exit status), per file."""
    found = {}
    for path in sorted(PLACE.glob('mutants/**/*.py.meta')):
        name = str(path.relative_to(PLACE / 'mutants').with_suffix(''))
        found[name] = json.loads(path.read_text())['exit_code_by_key']
    return {name: mutants for name, mutants in found.items() if mutants}


def survives(code: int | None) -> bool:
    return STATUS.get(code) in ('survived', 'no tests')


def print_table() -> None:
    """Counts per file, and the names of those that survived: `mutmut show NAME`, in `PLACE`, shows the change."""
    print('| file | mutants | killed | survived | not run |\n|---|---|---|---|---|')
    total: collections.Counter[str] = collections.Counter()
    for name, mutants in results().items():
        counts = collections.Counter(STATUS.get(code, 'killed') for code in mutants.values())
        print_row(name, counts)
        total += counts
    print_row('all', total)
    for mutants in results().values():
        for mutant, code in mutants.items():
            if survives(code):
                print(mutant, STATUS[code])


def print_row(name: str, counts: collections.Counter[str]) -> None:
    """One line of the table; a mutant that ends by a signal or runs into its time limit is killed."""
    killed, survived = counts['killed'] + counts['timeout'], counts['survived'] + counts['no tests']
    print(f'| {name} | {sum(counts.values())} | {killed} | {survived} | {counts["not run"]} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', help="mutants, such as 'gsasr_plugin.sizes.*'; all that have not run")
    parser.add_argument('--sample', type=int, help='so many of them that have not run, drawn with a fixed seed')
    parser.add_argument('--again', action='store_true', help='the survivors of earlier runs')
    parser.add_argument('--table', action='store_true', help='only print what the last runs found')
    arguments = parser.parse_args()
    if not arguments.table:
        config = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['mutmut']
        kept = PLACE / 'config.json'
        if kept.is_file() and json.loads(kept.read_text()) != config:
            shutil.rmtree(PLACE)  # mutants are numbered, and now otherwise
        copy_checkout(config['only_mutate'])
        kept.write_text(json.dumps(config))
        paths = [str(PLACE / 'path'), os.environ.get('PYTHONPATH', '')]
        (PLACE / 'path').mkdir(exist_ok=True)
        if not (PLACE / 'path' / 'gsasr_ops').is_symlink():
            (PLACE / 'path' / 'gsasr_ops').symlink_to(PLACE / 'ops')
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS='1')
        names = arguments.names
        if arguments.sample:
            subprocess.run([sys.executable, '-c', GENERATE], cwd=PLACE, env=environment, check=True)
            candidates = [
                mutant
                for mutants in results().values()
                for mutant, code in sorted(mutants.items())
                if code is None and (not names or any(fnmatch(mutant, name) for name in names))
            ]
            names = random.Random(0).sample(candidates, min(arguments.sample, len(candidates)))
        if arguments.again:
            names = [mutant for mutants in results().values() for mutant, code in mutants.items() if survives(code)]
        command = [str(Path(sys.executable).with_name('mutmut')), 'run', '--max-children', '1', *names]
        subprocess.run(command, cwd=PLACE, env=environment, check=False)
    print_table()


if __name__ == '__main__':
    main()
