"""`python -m gshare.shim`: the hook table as Markdown."""

from gshare.shim.hooks import HOOKS


def main() -> None:
    print("| library | class | function | |\n|---|---|---|---|")
    for hook in HOOKS:
        what = "hooked" if hook.hooked else "passes"
        print(f"| {hook.library} | {hook.hook_class} | `{hook.name}` | {what} |")


if __name__ == "__main__":
    main()
