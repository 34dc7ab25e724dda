import { MemorySessionStore } from '../../src/stores/memory.ts'

/** Keeps hints beside the records, as Redis does, and finds nothing but by them. */
export class HintedStore extends MemorySessionStore {
  readonly #hints = new Map<string, Set<string>>()

  override async noteUser(...[userId, id]: string[]): Promise<void> {
    this.#hints.set(userId!, (this.#hints.get(userId!) ?? new Set()).add(id!))
  }

  override async idsOfUser(userId: string): Promise<readonly string[]> {
    return [...(this.#hints.get(userId) ?? [])]
  }

  override async forgetUser(...[userId, ids]: unknown[]): Promise<void> {
    for (const id of ids as string[]) this.#hints.get(userId as string)?.delete(id)
  }
}
