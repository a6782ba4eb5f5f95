export type Change = [file: string, from: string, to: string]

type Suite = [path: string, titles: string]

export const mutants: { name: string; test: Suite; matrix: Suite; changes: Change[] }[]

export function mutated(text: string, change: Change): string
