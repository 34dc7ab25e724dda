import { rmSync } from 'node:fs'
import { mkdtemp, realpath } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { atExit } from './at-exit.ts'

/** A folder of the system's temporary one, outside this repository. */
export interface TemporaryFolder {
  readonly path: string
  /** Removes the folder and what is in it. */
  remove(): void
}

/** Makes an empty folder; it goes with the process at the latest. */
export async function temporaryFolder(): Promise<TemporaryFolder> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'holdfast-')))
  const remove = (): void => {
    forget()
    rmSync(path, { recursive: true, force: true })
  }
  const forget = atExit(remove)
  return { path, remove }
}
