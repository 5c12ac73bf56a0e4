"""The command line: here, and only here, everything is put together.

Every command starts or reaches its database itself. What can be expected to go wrong is said in a
sentence: exit code 2 for a setting, a file or an argument, 1 for everything else.
"""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

import psycopg
import typer
from eventsourcing.persistence import PersistenceError
from psycopg_pool import PoolTimeout
from pydantic import ValidationError

from domain.errors import Conflict, Refused
from domain.history import KeysAway
from infra.cli import files, kafka, models, people, questions, servers
from infra.cli.frame import Wrong, err, in_both
from infra.importers import BadFile
from infra.installation import AlreadyRunning
from infra.migrations import MigrationError
from infra.postgres import PostgresUnavailable
from infra.settings import SettingError
from infra.vault import Tampered
from projections.runner import NotTheSame, Poisoned, Superseded

app: Final = typer.Typer(
    name="wangge",
    help="网格：社区事项办理，一事一链，全程留痕。Community casework on one append-only log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

COMMANDS: Final[tuple[Callable[..., Any], ...]] = (
    servers.up,
    servers.serve,
    servers.demo,
    kafka.relay,
    models.rebuild,
    questions.metrics,
    questions.import_,
    files.report,
    people.forget,
    people.sweep,
    people.rotate_keys,
    questions.doctor,
)
GROUPS: Final[dict[str, tuple[typer.Typer, dict[str, Callable[..., Any]]]]] = {
    "project": (
        typer.Typer(callback=servers.project, invoke_without_command=True),
        {
            "status": models.status,
            "pause": models.pause,
            "resume": models.resume,
            "skip": models.skip,
        },
    ),
    "log": (
        typer.Typer(help="事件日志 · The log.", no_args_is_help=True),
        {"stat": questions.log_stat},
    ),
    "case": (
        typer.Typer(help="事项 · Cases.", no_args_is_help=True),
        {"show": questions.case_show},
    ),
    "deadlines": (
        typer.Typer(help="到期自动办理 · What happens to cases by itself.", no_args_is_help=True),
        {"list": questions.deadlines_list, "run": questions.deadlines_run},
    ),
    "user": (
        typer.Typer(help="人员 · People.", no_args_is_help=True),
        {"add": people.user_add},
    ),
    "export": (
        typer.Typer(
            help="流程挖掘导出 · Event logs for process-mining tools.", no_args_is_help=True
        ),
        {"xes": files.export_xes, "ocel": files.export_ocel},
    ),
}

for _command in COMMANDS:
    app.command(_command.__name__.strip("_").replace("_", "-"))(_command)
for _group, (_app, _commands) in GROUPS.items():
    for _name, _command in _commands.items():
        _app.command(_name)(_command)
    app.add_typer(_app, name=_group)


def main() -> None:
    """The entry point: runs a command and says in a sentence what was wrong."""
    signal.signal(signal.SIGTERM, _leave)
    _speak_anywhere()
    try:
        app()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            # A database's has its password in it.
            given = "" if name.endswith("DSN") else f" ({problem['input']!r})"
            err.print(f"WANGGE_{name}: {in_both(problem)}{given}", markup=False, soft_wrap=True)
        sys.exit(2)
    except (BadFile, PostgresUnavailable, Refused) as error:
        # Both languages: who operates a machine abroad may read only one of them.
        err.print(error.zh, error.en, sep="\n", markup=False, soft_wrap=True)
        sys.exit(2)
    except (SettingError, Wrong) as error:
        err.print(str(error), markup=False, soft_wrap=True)
        sys.exit(2)
    except AlreadyRunning as error:
        _fail(
            f"已有 wangge 在此数据文件夹运行（进程 {error}）。",
            f"Process {error} runs here already.",
        )
    except Conflict:
        _fail("其他进程正在改动同一数据，请重试。", "Other writers were faster; run it again.")
    except (psycopg.Error, PoolTimeout, PersistenceError) as error:
        _fail(f"数据库出错：{error}", "The database has a problem; `wangge doctor` looks into it.")
    except KeysAway as error:
        _fail(f"暂时取不到密钥：{error}", "Keys are out of reach; `wangge doctor` looks into it.")
    except NotTheSame as error:
        _fail(
            f"重建结果与现有读模型不一致：{error}。现有的仍在使用；"
            "不带 --verify 再次重建即可替换。",
            f"What was rebuilt differs from the live read model: {error}. The live one stays; "
            "rebuilt without --verify it is replaced.",
        )
    except Poisoned as error:
        at = error.poison
        _fail(
            f"读模型 {error.projection} 停在位置 {at.position}，无法处理该事件"
            f"（{at.stream} {at.name}）：{at.why}",
            f"The read model {error.projection} stands still: it cannot fold the event at position "
            f"{at.position} ({at.name} of {at.stream}).",
        )
    except (MigrationError, Tampered) as error:
        _fail(str(error), "")
    except Superseded as error:
        _fail(
            f"读模型 {error} 由更新版本的程序维护，请使用该版本。",
            f"A newer version of wangge keeps the read model {error}: use that one.",
        )
    except OSError as error:
        _fail(f"系统出错：{error}", "The system refused that; `wangge doctor` looks into it.")
    except KeyboardInterrupt:
        sys.exit(130)


def _speak_anywhere() -> None:
    """What an output has no signs for is said as an escape, and one that is closed takes all."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - as long as the process
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")


def _fail(zh: str, en: str) -> NoReturn:
    err.print(zh, en, sep="\n", markup=False, soft_wrap=True)
    sys.exit(1)


def _leave(*_: object) -> NoReturn:
    """On SIGTERM: unwind, so that everything is closed in order."""
    raise SystemExit(0)
