# FileCheck tests: test/**/*.mlir run lathe-opt (or lathe) and read what it printed.
import os

import lit.formats

config.name = "lathe"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
# What is read by tests of another kind.
config.excludes = ["Inputs", "checks", "data"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = config.lathe_obj_dir

config.environment["PATH"] = os.pathsep.join(
    [config.lathe_bin_dir, config.llvm_tools_dir, config.environment.get("PATH", os.environ["PATH"])]
)
config.substitutions.append(("%data", os.path.join(config.test_source_root, "data")))
config.substitutions.append(("%configs", os.path.join(os.path.dirname(config.test_source_root), "configs")))
