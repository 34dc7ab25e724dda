import { describe, test } from 'vitest'

import type { StoreHarness } from '../../src/testing/store-contract.ts'
import { storeContract } from '../../src/testing/store-contract.ts'

/** Runs the store contract with a fresh harness for each test, but for the parts that a store does not declare. */
export function runContract(
  name: string,
  open: () => StoreHarness | Promise<StoreHarness>,
  {
    atomic,
    notices = atomic,
    userIndex = atomic,
  }: { atomic: boolean; notices?: boolean; userIndex?: boolean },
): void {
  describe(`${name} keeps the store contract`, () => {
    for (const { name: sentence, part, run } of storeContract) {
      if (part === 'several processes' && !atomic) continue
      if (part === 'user index' && !userIndex) continue
      if (part === 'notices' && !notices) continue
      test(sentence, async () => {
        const harness = await open()
        try {
          await run(harness)
        } finally {
          await harness.close()
        }
      })
    }
  })
}
