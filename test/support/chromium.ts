import { existsSync } from 'node:fs'

import type { Browser } from 'playwright-core'
import { chromium } from 'playwright-core'

const PROGRAM = '/usr/bin/chromium'

/** What keeps it quiet, and lets it run as root and without a screen. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // A name of this machine that browsers do not trust as they trust localhost.
  '--host-resolver-rules=MAP plain.test 127.0.0.1',
]

/** Starts Chromium with a fresh profile, which goes with it. */
export async function launchChromium(): Promise<Browser> {
  if (!existsSync(PROGRAM))
    throw new Error(`${PROGRAM} is missing: apt-get install chromium (the Debian package of that name)`)
  return chromium.launch({ executablePath: PROGRAM, args: FLAGS })
}
