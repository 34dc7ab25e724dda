/** Work in a process of its own, whose code and heap nothing else has been at. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

import { keepToCore, LOADED_CORE } from '../cores.ts'

/** Has a file of this folder carry an order out, and resolves to its answer. */
export async function inChild<A>(file: string, order: object, execArgv: string[] = []): Promise<A> {
  const child = fork(join(import.meta.dirname, file), { execArgv })
  keepToCore(child.pid!, LOADED_CORE)
  child.send(order)
  const died = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${file} ended with ${code}.`)))
  const [answer] = (await Promise.race([once(child, 'message'), died])) as [A]
  died.catch(() => {})
  child.disconnect()
  return answer
}

/** In the file: carries the one order out that it is sent. */
export function answerOrders<O>(work: (order: O) => Promise<object>): void {
  process.once('message', (order) => {
    void work(order as O).then((answer) => process.send!(answer))
  })
  process.once('disconnect', () => process.exit())
}
