"""To be imported first: without Chromium it ends the program as a skip. Where SP_BROWSER_REQUIRED is 1, as in continuous
integration, which installs it, a skip would hide that nothing was tested."""
import os
import shutil
import sys

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')

if CHROMIUM is None:
    print('skipped: there is no Chromium in PATH; Debian has it as chromium (with fonts-dejavu-core)')
    sys.exit(1 if os.environ.get('SP_BROWSER_REQUIRED') == '1' else 77)  # 77 is what meson takes for a skip
