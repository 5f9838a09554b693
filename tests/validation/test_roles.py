"""Names of roles need neither torch nor pictures."""

import subprocess
import sys


def test_roles_import_nothing():
    code = "import sys; from jlab_compress.validation.roles import SLIM, REFERENCES; "
    code += "print(SLIM, len(REFERENCES), sorted({'torch', 'matplotlib', 'ot'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "slim 3 []\n"
