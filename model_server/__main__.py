"""The command line: serve, transcribe, classify, describe, evaluate, replay, fetch, token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
import json
import logging
from pathlib import Path
import re
import signal
import ssl
import sys
from typing import Annotated, Any, NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
import typer

from model_server import __version__, files
from model_server.api.app import create_app
from model_server.api.auth import TokenFile
from model_server.api.describe import instruction_of, read_schema
from model_server.api.replay import QueryError, answer, question_of, read_query
from model_server.api.server import BindError, EarshotServer, bind
from model_server.api.vocabulary import (
    VocabularyError,
    VocabularyFile,
    parse_vocabulary,
    to_vocabulary,
)
from model_server.api.wyoming import WyomingDoor
from model_server.audio import SAMPLE_RATE
from model_server.audio.decode import DecodeError, open_audio, read_audio
from model_server.build import Builder, build_engines
from model_server.catalogue import load_catalogue
from model_server.engines.base import EngineError
from model_server.evaluation.command import app as evaluate_app
from model_server.fetch import fetch, folder_of, known_models, verify
from model_server.fetched import Source
from model_server.listen import listener
from model_server.monitor.score_file import ScoreFileError, open_score_file
from model_server.replay_table import event_table, near_table
from model_server.settings import Settings, SettingsError, load_settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Earshot's local model server: sounds and commands, heard in this house.",
)
token_app = typer.Typer(no_args_is_help=True, help="The token that clients must send.")
app.add_typer(token_app, name="token")
app.add_typer(evaluate_app, name="evaluate")

MAX_FILE_S = 24 * 3600

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where token, vocabulary and cache are kept.", show_default=False
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="A TOML file with settings.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def fail(message: object) -> NoReturn:
    """End with exit status 2 and one sentence."""
    typer.echo(str(message), err=True)
    raise typer.Exit(2)


def settings_or_fail(config: Path | None, **flags: Any) -> Settings:
    """The settings, or the sentence that says which is wrong."""
    try:
        return load_settings(config, **flags)
    except SettingsError as error:
        fail(error)


def say_addresses(url: str, wyoming: WyomingDoor | None) -> None:
    """Tell where the server is, once it serves."""
    print(f"Earshot listens on {url}", flush=True)
    if wyoming is not None:
        print(f"Wyoming listens on {wyoming.url}", flush=True)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port; 0 takes a free one.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM certificate chain.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key.")] = None,
    zeroconf: Annotated[
        bool | None, typer.Option("--zeroconf", help="Announce on the network.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error.")
    ] = None,
    max_streams: Annotated[int | None, typer.Option(help="Open streams.")] = None,
    max_utterance_s: Annotated[
        float | None, typer.Option(help="Longest utterance.")
    ] = None,
    max_ahead_s: Annotated[
        float | None, typer.Option(help="Largest backlog ahead of real time.")
    ] = None,
    max_message_bytes: Annotated[
        int | None, typer.Option(help="Largest WebSocket message.")
    ] = None,
    idle_s: Annotated[
        float | None, typer.Option(help="Longest time without a frame.")
    ] = None,
    speech: Annotated[
        str | None, typer.Option(help="embedded, midashenglm or remote.")
    ] = None,
    sounds: Annotated[
        str | None, typer.Option(help="embedded, ced or midashenglm.")
    ] = None,
    descriptions: Annotated[
        str | None, typer.Option(help="none, midashenglm or remote.")
    ] = None,
    wyoming_port: Annotated[
        int | None,
        typer.Option(help="Also speak Wyoming on this TCP port; 0 takes a free one."),
    ] = None,
    wyoming_host: Annotated[
        str | None,
        typer.Option(help="Its address. It has no token: mind who can reach it."),
    ] = None,
) -> None:
    """Serve microphones until SIGINT or SIGTERM."""
    wyoming = {"port": wyoming_port, "host": wyoming_host}
    settings = settings_or_fail(
        config,
        wyoming={name: value for name, value in wyoming.items() if value is not None},
        host=host,
        port=port,
        data_dir=data_dir,
        tls_cert=tls_cert,
        tls_key=tls_key,
        zeroconf=zeroconf,
        log_level=log_level,
        max_streams=max_streams,
        max_utterance_s=max_utterance_s,
        max_ahead_s=max_ahead_s,
        max_message_bytes=max_message_bytes,
        idle_s=idle_s,
        speech=speech,
        sounds=sounds,
        descriptions=descriptions,
    )
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # At debug level these write headers and frames: the token and what was said.
    for name in ("uvicorn", "uvicorn.error", "websockets", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)

    try:
        socket = bind(settings.host, settings.port)
        made = TokenFile(settings.data_dir).ensure()
        engines = build_engines(settings)
        server = EarshotServer(
            create_app(settings, engines),
            socket,
            lambda url: say_addresses(url, server.wyoming),
        )
    except (BindError, EngineError) as error:
        fail(error)
    except ssl.SSLError:
        fail("--tls-cert and --tls-key are no matching pair of PEM files.")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; choose another file or --data-dir.")
    if made is not None:
        print(f"Token (shown once, `token show` repeats it): {made}", flush=True)
    # uvicorn raises the signal again when it is done; a stop that was asked for is no
    # failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        server.run()
    finally:
        engines.close()


@app.command()
def transcribe(
    file: Annotated[Path, typer.Argument(help="Any audio file with one utterance.")],
    vocabulary: Annotated[
        Path | None,
        typer.Option(help="What may be said, as PUT /v1/vocabulary takes it."),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Say what was said in a file, as far as the home's vocabulary knows it."""
    settings = settings_or_fail(config, data_dir=data_dir)

    try:
        if vocabulary is None:
            body = VocabularyFile(settings.data_dir).load()
        else:
            body = parse_vocabulary(vocabulary.read_bytes())
        pcm = read_audio(file, round(settings.max_utterance_s * SAMPLE_RATE))
    except DecodeError as error:
        fail(error)
    except VocabularyError as error:
        fail(f"{vocabulary} is no vocabulary: {error}")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; give a file that can be read.")
    language = body.language if body else "en"
    try:
        recognizer = Builder(settings).recognizer()
        if body is not None:
            recognizer.set_vocabulary(to_vocabulary(body))
        said = listener.transcribe(recognizer, pcm, language)
    except ValueError as error:
        fail(f"The vocabulary cannot be used: {error}.")
    except EngineError as error:
        fail(error)
    if as_json:
        print(json.dumps(files.transcription_json(said), ensure_ascii=False, indent=2))
    else:
        Console().print(files.transcription_table(file, said))


@app.command()
def classify(
    file: Annotated[Path, typer.Argument(help="Any audio file, of any length.")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List the sound events of a file."""
    settings = settings_or_fail(config, data_dir=data_dir)
    catalogue = load_catalogue()
    try:
        classifier = Builder(settings).classifier()
    except EngineError as error:
        fail(error)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    try:
        with open_audio(file, MAX_FILE_S * SAMPLE_RATE) as audio, bar:
            task = bar.add_task(file.name, total=audio.duration)
            events = files.find_sounds(
                audio.blocks,
                classifier,
                list(catalogue.values()),
                lambda seconds: bar.update(task, completed=seconds),
            )
    except (DecodeError, EngineError) as error:
        fail(error)
    if as_json:
        print(json.dumps([event.as_json() for event in events], indent=2))
    elif events:
        Console().print(files.sound_table(file, events, catalogue))
    else:
        print(f"{file.name}: none of the {len(catalogue)} sounds of the catalogue.")


@app.command("fetch")
def fetch_model(
    name: Annotated[
        str | None, typer.Argument(help="A model; without it they are listed.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="A commit, tag or branch of its repository.")
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(help="FILE=HEX: the hash that a file must have; repeatable."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="A mirror instead of the Hugging Face hub.")
    ] = None,
    verify_only: Annotated[
        bool, typer.Option("--verify", help="Only check what was fetched; offline.")
    ] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Download a model once, verified; what was interrupted goes on."""
    models = known_models()
    if name is None:
        Console().print(files.model_table(models))
        return
    if name not in models:
        fail(f"There is no model {name}: choose one of {', '.join(models)}.")
    known = models[name]
    folder = folder_of(name, settings_or_fail(config, data_dir=data_dir).data_dir)
    pinned = dict(known.sha256) if revision in (None, known.revision) else {}
    for each in sha256 or ():
        file, _, digest = each.partition("=")
        if re.fullmatch("[0-9a-fA-F]{64}", digest) is None:
            fail(f"--sha256 {each}: write FILE=HEX with the 64 digits of its SHA-256.")
        pinned[file] = digest.lower()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )

    def watch(what: str, size: int) -> Callable[[int], None]:
        task = bar.add_task(what, total=size)
        return lambda done: bar.advance(task, done)

    try:
        with bar:
            if verify_only:
                record = verify(folder, watch)
            else:
                source = Source(known.repo, revision or known.revision, endpoint)
                record = fetch(name, source, folder, pinned, watch)
    except EngineError as error:
        fail(f"{error}.")
    print(
        f"{folder}: {record.repo} at {record.revision}, "
        f"{len(record.files)} files, verified."
    )


@app.command()
def describe(
    file: Annotated[Path, typer.Argument(help="Any audio file with a short clip.")],
    task: Annotated[
        str | None,
        typer.Option(help="caption, music, scene, sounds, genre or instrument."),
    ] = None,
    question: Annotated[str | None, typer.Option(help="Anything about it.")] = None,
    schema: Annotated[
        Path | None, typer.Option(help="A JSON Schema that the answer follows.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Tell what is heard in a clip; without a task or a question, in one sentence."""
    settings = settings_or_fail(config, data_dir=data_dir)
    try:
        wanted = read_schema(schema.read_bytes()) if schema else None
        instruction = instruction_of(task, question, wanted)
        describer = Builder(settings).describer()
        if describer is None:
            fail(
                "No engine describes audio here: write "
                'descriptions = "midashenglm" (or "remote") in a TOML file and give '
                "it with --config."
            )
        with Console(stderr=True).status("Listening"):
            said = files.describe_file(describer, file, instruction, wanted)
    except (DecodeError, EngineError) as error:
        fail(error)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; give a file that can be read.")
    except ValueError as error:
        fail(f"{error}.")
    if as_json:
        print(json.dumps(said, ensure_ascii=False, indent=2))
    else:
        Console().print(files.description_panel(file, said))


@app.command("replay")
def replay_log(
    microphone: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    label: Annotated[
        str | None, typer.Option(help="Only this sound, listened for or not.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score from which a window counts.")
    ] = None,
    off: Annotated[
        float | None, typer.Option(help="Score under which an event ends.")
    ] = None,
    k: Annotated[int | None, typer.Option(help="Windows that must count,")] = None,
    n: Annotated[int | None, typer.Option(help="of so many.")] = None,
    hold: Annotated[float | None, typer.Option(help="Seconds before it ends.")] = None,
    cooldown: Annotated[
        float | None, typer.Option(help="Seconds until the next may begin.")
    ] = None,
    sustain: Annotated[
        float | None, typer.Option(help="Seconds after which it is sustained.")
    ] = None,
    since: Annotated[str, typer.Option(help="90m, 24h, 7d ago, or a time.")] = "24h",
    until: Annotated[
        str | None, typer.Option(help="Likewise; without it, now.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="How close a near miss came to the threshold.")
    ] = 0.1,
    limit: Annotated[int, typer.Option(help="Events, and near misses, at most.")] = 200,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Tell what was reported, or would have been by other rules, and what came close."""
    settings = settings_or_fail(config, data_dir=data_dir)
    asked = {
        "microphone": microphone,
        "label": label,
        "threshold": threshold,
        "off": off,
        "k": k,
        "n": n,
        "hold": hold,
        "cooldown": cooldown,
        "sustain": sustain,
        "since": since,
        "until": until,
        "margin": margin,
        "limit": limit,
    }
    catalogue = load_catalogue()
    try:
        question = question_of(read_query(asked), catalogue, datetime.now(UTC))
        with open_score_file(settings.data_dir) as log:
            result = answer(log, question, catalogue)
    except (QueryError, ScoreFileError) as error:
        fail(error)
    if as_json:
        print(result.model_dump_json(indent=2))
        return
    console = Console()
    console.print(event_table(result, catalogue))
    console.print(near_table(result, catalogue))
    if result.left_out:
        print(f"{result.left_out} more before these: ask for less, or raise --limit.")


@token_app.command("show")
def show_token(data_dir: DataDir = None, config: Config = None) -> None:
    """Print the token; make it if there is none yet."""

    token = TokenFile(settings_or_fail(config, data_dir=data_dir).data_dir)
    try:
        print(token.ensure() or token.read())
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; choose another --data-dir.")


@token_app.command("rotate")
def rotate_token(data_dir: DataDir = None, config: Config = None) -> None:
    """Replace the token and print the new one; a running server takes it at once."""

    settings = settings_or_fail(config, data_dir=data_dir)
    try:
        print(TokenFile(settings.data_dir).rotate())
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; choose another --data-dir.")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
