import type { Awaitable } from '../awaitable.ts'

/**
 * The promise of a store that has its answer within the call. It is a promise like any other, as the contract wants; but {@link answerOf} reads
 * the answer off it, so that the core need not wait for what is there: a commit to memory then holds no answer back. Whoever wraps such a
 * store, or overrides a method of it, hands on promises of their own, and is waited for.
 * @param failed goes on from what the step throws. Default: the promise rejects with it
 */
export function answer<V>(step: () => V, failed: (error: unknown) => Promise<V> = reject): Promise<V> {
  try {
    const value = step()
    const promise: Answered<V> = Promise.resolve(value)
    promise[ANSWER] = value
    return promise
  } catch (error) {
    return failed(error)
  }
}

/** The answer that a store's promise holds already, or the promise itself. */
export function answerOf<V>(promise: Promise<V>): Awaitable<V> {
  const answer = (promise as Answered<V>)[ANSWER]
  return answer === undefined ? promise : answer
}

const reject = (reason: unknown): Promise<never> => Promise.reject(reason)

const ANSWER = Symbol('holdfast.answer')

interface Answered<V> extends Promise<V> {
  [ANSWER]?: V
}
