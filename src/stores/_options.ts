import { SessionError } from '../errors.ts'
import type { SessionStoreOptions } from './store.ts'

/** The longest a timer of Node can wait, in seconds; it takes a longer time for none. */
export const LONGEST_TIMER: number = (2 ** 31 - 1) / 1000

/**
 * Reads the options of one store. Each rule is named after the store and the option, as in `memory-max-sessions`.
 * What is not among `known` is refused: a misspelt limit must not silently be none.
 */
export class OptionsReader {
  readonly #store: string
  readonly #options: Readonly<Record<string, unknown>>

  constructor(store: string, options: SessionStoreOptions, known: readonly string[]) {
    this.#store = store
    this.#options = options as Record<string, unknown>
    if (typeof options !== 'object' || options === null) throw this.refusal('options', 'must be an object')
    for (const name of Object.keys(options))
      if (!known.includes(name))
        throw this.refusal('unknown-option', `does not exist; the options are ${known.join(', ')}`, name)
    const { clock } = options
    if (clock !== undefined && (typeof clock?.now !== 'function' || typeof clock.sleep !== 'function'))
      throw this.refusal('clock', 'must have the methods now and sleep')
  }

  /** A number of seconds above zero. */
  seconds(name: string, fallback: number, most: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.#options[name] ?? fallback
    if (typeof value === 'number' && value > 0 && value <= most) return value
    throw this.refusal(name, `must be a number of seconds above 0 and not over ${most}`)
  }

  /** A whole number above zero. */
  count(name: string, fallback: number): number {
    const value = this.#options[name] ?? fallback
    if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value
    throw this.refusal(name, 'must be a whole number above 0')
  }

  /** The error for an option that breaks a rule. */
  refusal(option: string, complaint: string, name: string = option): SessionError {
    const rule = `${this.#store}-${option.replaceAll(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`)}`
    return new SessionError('ERR_SESSION_OPTION', `The ${this.#store} store's option ${name} ${complaint}.`, {
      rule,
    })
  }
}
