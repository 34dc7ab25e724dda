import { Readable } from 'node:stream'

import { describe, test } from 'vitest'

import type { AdapterHarness, Answer } from '../../src/testing/adapter-contract.ts'
import { adapterContract } from '../../src/testing/adapter-contract.ts'

/** Runs the adapter contract on one harness. */
export function runAdapterContract(name: string, harness: AdapterHarness): void {
  describe(`${name} keeps the adapter contract`, () => {
    for (const { name: sentence, run } of adapterContract) test(sentence, () => run(harness))
  })
}

/** The body of an answer of the contract, as a `Response` takes it. */
export function contentOf(body: Answer['body'] = null): string | ReadableStream<Uint8Array> | null {
  return typeof body === 'string' || body === null ? body : streamOf(body)
}

/** Text as a stream, each piece asked for when it is read. */
export function streamOf(pieces: Iterable<string> | AsyncIterable<string>): ReadableStream<Uint8Array> {
  return Readable.toWeb(Readable.from(pieces, { objectMode: false })) as ReadableStream<Uint8Array>
}
