/** One server process: a set-up, and its gate. Tells its port, and each request that waits, over IPC; `go` lets all of them go on. */
import { SET_UPS } from './set-ups.ts'

const [name, redisUrl] = process.argv.slice(2) as [string, string]
const waiting: (() => void)[] = []

const port = await SET_UPS[name]!(redisUrl, () => {
  process.send!('waiting')
  return new Promise((resolve) => waiting.push(resolve))
})
process.on('message', () => {
  for (const resolve of waiting.splice(0)) resolve()
})
process.on('disconnect', () => process.exit())
process.send!({ port })
