"""Runs a module's test_* functions in their order and prints TAP, as tests/run reads it.

A test fails by an exception (assert); it is skipped by raising Skip(reason)."""
import sys, traceback


class Skip(Exception):
    pass


def main(module):
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    print(f"1..{len(tests)}")
    bad = 0
    for i, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {i} - {name}", flush=True)
        except Skip as e:
            print(f"ok {i} - {name} # SKIP {e}", flush=True)
        except Exception:
            bad += 1
            print(f"not ok {i} - {name}")
            print("\n".join("# " + x for x in traceback.format_exc().splitlines()), flush=True)
    sys.exit(1 if bad else 0)
