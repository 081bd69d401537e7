"""The project's loader of conf/: what cannot be read is said with the file, the line and what stands there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from diffurecsys.errors import UserError
from diffurecsys.parameters import ParameterError

_SHOWN = 80  # characters of a line in a message


class StudyConfigLoader(OmegaConfigLoader):
    """`OmegaConfigLoader` whose errors are the project's own."""

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return what all files of a kind say together.

        Raises:
            ParameterError: one of them cannot be read, names something twice, or refers to what is not there; or there
                is no such experiment.
            MissingConfigException: there is no such file or folder.
            KeyError: there is no such kind.
        """
        self._check_experiment()
        try:
            found: dict[str, Any] = super().__getitem__(key)
        except (UserError, MissingConfigException, KeyError):
            raise
        except Exception as error:
            folders = (self.base_env, self.env or self.default_run_env)
            files = [file for name in folders for file in self._files(key, Path(self.conf_source) / str(name))]
            said = next((fault for file in files if (fault := file_fault(file))), _said(error))
            raise ParameterError(f"conf cannot be read ({key}): {said}") from error
        if not isinstance(found, dict):
            raise ParameterError(f"conf cannot be read ({key}): it must map names to values, got {found!r}")
        return found

    def _check_experiment(self) -> None:
        conf = Path(self.conf_source)
        if self.env and conf.is_dir() and not (conf / self.env).is_dir():
            known = sorted(path.name for path in conf.iterdir() if path.is_dir() and path.name != self.base_env)
            close = get_close_matches(self.env, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
            raise ParameterError(f"--env={self.env}: {conf.name}/ has no folder of that name; {hint}")

    def _files(self, key: str, folder: Path) -> Iterator[Path]:
        for pattern in self.config_patterns[key]:
            yield from sorted(path for path in folder.glob(pattern) if self._is_valid_config_path(path))


def file_fault(path: Path) -> str:
    """Say why a file of conf/ cannot be read: file, line, what stands there, what is wrong; empty where it can."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"{path}, line {line}: {_shown(content.decode('utf-8', 'backslashreplace'), line)} is not UTF-8"
    try:
        found = OmegaConf.load(io.StringIO(text))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        lines = text.split("\n")[:line]
        while lines and not lines[-1].strip():  # what does not end is missed behind the last line
            lines.pop()
        line = max(1, len(lines))
        return f"{path}, line {line}: {_shown(text, line)}: {error.problem or error.context}"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        return f"{path}, line {line}: {_shown(text, line)}: {error.reason}"
    except OmegaConfBaseException as error:
        return f"{path}: {_said(error)}"
    except OSError:  # OmegaConf's word for a file that holds one value
        return f"{path}: it must map names to values, as in `threads: 1`, but holds one value"
    except Exception as error:  # what YAML's constructors make of dates and numbers that are none
        return f"{path}: {_said(error)}"
    if not OmegaConf.is_dict(found):
        return f"{path}: it must map names to values, as in `threads: 1`, but holds a list"
    return ""


def _shown(text: str, line: int) -> str:
    lines = text.splitlines()
    found = lines[line - 1].strip() if line <= len(lines) else ""  # YAML ends lines at fewer characters than Python
    return repr(found if len(found) <= _SHOWN else found[:_SHOWN] + "…")


def _said(error: BaseException) -> str:
    """Return what a library's error says in one line, with the parameter if it names one."""
    text = " ".join(str(error).split("\n", 1)[0].split()) or type(error).__name__
    name = getattr(error, "full_key", None)
    return f"{name}: {text}" if name else text
