/**
 * A process that does nothing but look at the time, and notes when it could not: then no other process could either, deadlines passed
 * unseen, and what a test measured says nothing.
 *
 *     node watcher.ts <file>
 */
import { appendFileSync } from 'node:fs'

import { LEAST } from './stalls.ts'

const EVERY = 20

let last = Date.now()
setInterval(() => {
  const now = Date.now()
  if (now - last >= LEAST + EVERY) appendFileSync(process.argv[2]!, `${last} ${now}\n`)
  last = now
}, EVERY)
process.on('disconnect', () => process.exit())
