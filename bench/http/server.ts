/** The measured process: one set-up on a port, and the bare handler of its framework on another. Tells over IPC what it has used. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { SETUPS } from './setups.ts'
import type { Place } from './stores.ts'
import { appData } from './work.ts'

/** What the process is to be. */
export interface Order {
  readonly setup: string
  readonly place: Place
  readonly bytes: number
}

/** What it answers: its ports at first, and what it has used whenever it is asked. */
export interface Ports {
  readonly bare: number
  readonly measured: number
}
export interface Used {
  /** Microseconds of CPU time. */
  readonly cpu: number
  readonly heap: number
}

/** Its connections may wait while other set-ups have their turn. */
const PATIENT = { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 }

const order = JSON.parse(process.argv[2]!) as Order
const setup = SETUPS.find(({ name }) => name === order.setup)!
const pair = await setup.build(order.place, appData(order.bytes))

const [bare, measured] = await Promise.all(
  [pair.bare, pair.measured].map(
    (listener) =>
      new Promise<number>((resolve) => {
        const server = createServer(PATIENT, listener)
        server.listen(0, '127.0.0.1', 1024, () => resolve((server.address() as AddressInfo).port))
      }),
  ),
)
process.send!({ bare, measured })
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send!({ cpu: user + system, heap: process.memoryUsage().heapUsed })
})
process.on('disconnect', () => process.exit())
