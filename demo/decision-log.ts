import { Context, type Decision, onCommit, onEvent } from 'holdfast'

/** A decision record, and the request it was made for. */
export interface Entry extends Decision {
  readonly request: string
  readonly at: Date
}

/** Remembers the last decisions of the last sessions, for the page to show. It holds no token and no data, as decisions hold none. */
export class DecisionLog {
  /** By session id, the longest unused first. */
  readonly #entries = new Map<string, readonly Entry[]>()

  constructor() {
    onCommit((decision) => this.#add(decision))
    onEvent((event) => {
      // A sign-in gives the session another id; its story goes on.
      if (event.kind === 'rotated') this.#keep(event.successor, this.of(event.id))
    })
  }

  /** The last decisions about a session, newest first. */
  of(id: string): readonly Entry[] {
    return this.#entries.get(id) ?? []
  }

  #add(decision: Decision): void {
    if (decision.id === null) return
    // A decision is told while the context of its request is the current one.
    const current = Context.current()?.request as Request | undefined
    const request = current === undefined ? '' : `${current.method} ${new URL(current.url).pathname}`
    // That a page listens is no news.
    if (request === 'GET /live') return
    this.#keep(decision.id, [{ ...decision, request, at: new Date() }, ...this.of(decision.id)])
  }

  #keep(id: string, entries: readonly Entry[]): void {
    this.#entries.delete(id)
    this.#entries.set(id, entries.slice(0, ENTRIES))
    if (this.#entries.size > SESSIONS) this.#entries.delete(this.#entries.keys().next().value!)
  }
}

/** How many decisions are kept for a session, and for how many sessions. */
const ENTRIES = 8
const SESSIONS = 1000
