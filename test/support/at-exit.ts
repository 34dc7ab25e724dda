const acts = new Set<() => void>()
process.on('exit', () => {
  for (const act of acts) act()
})

/** Has something done when this process ends by itself, unless it is taken back. @returns takes it back */
export function atExit(act: () => void): () => void {
  acts.add(act)
  return () => void acts.delete(act)
}
