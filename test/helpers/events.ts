/** One server-sent event. */
export interface SentEvent {
  event: string
  id: string | undefined
  // What a test knows of it.
  data: { id: number; service: string; status: string; [field: string]: unknown }
}

/** The events of a stream as they come, until it ends; comments (heartbeats) are left out. Leaving the loop closes it. */
export async function* readEvents(response: Response): AsyncGenerator<SentEvent> {
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const field = (name: string) =>
        block
          .split('\n')
          .find((line) => line.startsWith(`${name}: `))
          ?.slice(name.length + 2)
      const data = field('data')
      if (data !== undefined) yield { event: field('event') ?? 'message', id: field('id'), data: JSON.parse(data) }
    }
  }
}
