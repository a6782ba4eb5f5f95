import { styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

/** What `npm start` says, on a terminal in colour (NO_COLOR is honoured) and otherwise as plain lines. */
export class Output {
  private progress = ''

  constructor(private readonly stream: NodeJS.WriteStream) {
    // A terminal that was closed, or a pipe to a program that has ended, is no reason to stop.
    stream.on('error', () => {})
  }

  line(text = ''): void {
    this.stream.write(this.progress ? `\r\u001B[K${text}\n${this.progress}` : `${text}\n`)
  }

  /** A part that has come up: `PostgreSQL 18.4   ready in 1.6 s (127.0.0.1:5433)`. */
  part(name: string, { ms, where, did = 'ready' }: { ms: number; where?: string; did?: string }): void {
    this.line(
      `${this.style('green', '✔')} ${name.padEnd(17)} ${did} in ${seconds(ms)}${where ? this.style('dim', ` (${where})`) : ''}`,
    )
  }

  note(text: string): void {
    this.line(`${this.style('yellow', '•')} ${text}`)
  }

  /** One sentence on what went wrong, with what explains it below. */
  failure(sentence: string, detail?: string): void {
    this.line(`${this.style('red', '✖')} ${sentence}`)
    if (detail) this.line(this.style('dim', detail.replaceAll(/^/gm, '  ')))
  }

  urls(urls: Record<string, string>): void {
    this.line()
    for (const [name, url] of Object.entries(urls)) this.line(`  ${name.padEnd(17)} ${this.style('cyan', url)}`)
    this.line()
  }

  /** Shows that work goes on, with the time it has taken: in place on a terminal, otherwise with a line every 15 s. */
  async during<T>(what: string, work: () => Promise<T>): Promise<T> {
    const begun = Date.now()
    const text = () => `  ${what} … ${Math.round((Date.now() - begun) / 1_000)} s`
    if (!this.stream.isTTY) this.line(text())
    const show = () => {
      if (!this.stream.isTTY) return this.line(text())
      this.progress = text()
      this.stream.write(`\r\u001B[K${this.progress}`)
    }
    const timer = setInterval(show, this.stream.isTTY ? 1_000 : 15_000)
    try {
      return await work()
    } finally {
      clearInterval(timer)
      if (this.progress) this.stream.write('\r\u001B[K')
      this.progress = ''
    }
  }

  private style(style: Style, text: string): string {
    return this.stream.isTTY && this.stream.hasColors() ? styleText(style, text) : text
  }
}

/** "1.6 s" */
export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
