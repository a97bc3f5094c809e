"""Shell completion: one script for a whole command, made from its subcommands and options. Pure.

The script asks no Python: completing a word is as quick as the shell. Where no word fits, file names are completed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHELLS = ("bash", "zsh")


def completion_script(program: str, words: Mapping[str, Sequence[str]], shell: str) -> str:
    """The script for `shell`. `words`: by path ("" for the program itself, `zoo fetch`), what may follow."""
    function = f"_{program.replace('-', '_')}"
    paths = "|".join(f'" {path}"' for path in sorted(words) if path)
    cases = "\n".join(f'    "{path}") words="{" ".join(words[path])}" ;;' for path in sorted(words))
    script = f"""\
{function}() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path ${{COMP_WORDS[i]}}" in
      {paths}) path="$path ${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "${{path# }}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F {function} {program}
"""
    return script if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{script}"
