/** One line that says how far a run is; on a terminal it is written over, elsewhere only its steps of a tenth are printed. */
export class Progress {
  readonly #part: string
  readonly #begin = Date.now()
  #expected = 1
  #done = 0
  #tenth = -1

  constructor(part: string) {
    this.#part = part
  }

  expect(steps: number): void {
    this.#expected = Math.max(1, steps)
  }

  step(): void {
    this.#done++
  }

  say(what: string): void {
    const share = this.#done / this.#expected
    const seconds = (Date.now() - this.#begin) / 1000
    const left = this.#done === 0 ? '' : `, ${clock((seconds / share) * (1 - share))} left`
    const line = `${this.#part} ${Math.round(share * 100)} %${left}: ${what}`
    if (process.stdout.isTTY) process.stdout.write(`\r\u001B[K${line.slice(0, process.stdout.columns - 1)}`)
    else if (Math.floor(share * 10) > this.#tenth) {
      this.#tenth = Math.floor(share * 10)
      console.log(line)
    }
  }

  end(): void {
    if (process.stdout.isTTY) process.stdout.write('\r\u001B[K')
    console.log(`${this.#part}: done in ${clock((Date.now() - this.#begin) / 1000)}`)
  }
}

function clock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`
}
