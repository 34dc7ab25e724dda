import { fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import type { TestProject } from 'vitest/node'

import { temporaryFolder } from '../temporary-folder.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The file that is written to when the machine stands still. */
    stalls: string
  }
}

/** Has the machine watched while tests run. */
export default async function watchMachine(project: TestProject): Promise<() => void> {
  const folder = await temporaryFolder()
  const file = join(folder.path, 'stalls')
  writeFileSync(file, '')
  const watcher = fork(new URL('./watcher.ts', import.meta.url), [file])
  project.provide('stalls', file)
  return () => {
    watcher.disconnect()
    folder.remove()
  }
}
