/** A time of day in UTC, since the server does not know the visitor's zone. */
export function clockTime(date: Date): string {
  return `${date.toISOString().slice(11, 19)} UTC`
}

export function ago(date: Date, now: Date): string {
  const seconds = Math.round((now.getTime() - date.getTime()) / 1000)
  return seconds < 5 ? 'just now' : `${span(seconds)} ago`
}

export function until(date: Date, now: Date): string {
  return `in ${span(Math.round((date.getTime() - now.getTime()) / 1000))}`
}

function span(seconds: number): string {
  if (seconds < 90) return `${seconds} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
}
