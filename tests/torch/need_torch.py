"""To be imported first: without PyTorch it ends the program as a skip. Where SP_TORCH_REQUIRED is 1, as in continuous
integration, which installs it, a skip would hide that nothing was tested."""
import os
import sys

try:
    import torch  # noqa: F401
except ImportError as missing:
    print(f'skipped: {sys.executable} has no PyTorch ({missing}); Debian has it as python3-torch')
    sys.exit(1 if os.environ.get('SP_TORCH_REQUIRED') == '1' else 77)  # 77 is what meson takes for a skip
