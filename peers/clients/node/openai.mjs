// openai for JavaScript: chat.completions and responses, embeddings and models.

import OpenAI, { APIError, AuthenticationError, BadRequestError, InternalServerError, NotFoundError, RateLimitError } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { able, near, PERSON, PNG, PNG_SEEN, run, same, throws, through, TIMEOUT } from "./checking.mjs";

const RESPONSES = process.argv[2] === "responses";
const Person = z.object({ name: z.string(), age: z.number() });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const FUNCTION = { name: "weather", description: "The weather of a city.", parameters };
const TOOL = { type: "function", function: FUNCTION };

const client = (here, apiKey = here.key) =>
  new OpenAI({ apiKey, baseURL: `${here.root}/v1`, maxRetries: 0, timeout: TIMEOUT });
const says = (here, scene, mark = here.mark()) => [{ role: "user", content: `[${scene}:${mark}] Please.` }];
const asking = (here, scene, more = {}) => ({ model: here.model, messages: says(here, scene), ...more });

async function complete(here) {
  const answer = await client(here).chat.completions.create(asking(here, "hello"));
  same([answer.choices[0].message.content, answer.choices[0].finish_reason], ["Hello there", "stop"]);
  same([answer.usage.prompt_tokens, answer.usage.completion_tokens], [20, 7]);
}

async function stream(here) {
  const mark = here.mark();
  const said = [];
  let usage;
  const asked = { model: here.model, messages: says(here, "gated", mark), stream: true };
  for await (const chunk of await client(here).chat.completions.create({
    ...asked,
    stream_options: { include_usage: true },
  })) {
    for (const choice of chunk.choices) {
      if (!choice.delta.content) continue;
      said.push(choice.delta.content);
      await here.open(mark);
    }
    usage = chunk.usage ?? usage;
  }
  same(said, ["One", " two"]);
  same(usage.completion_tokens, 7);
}

/** Functions that the SDK calls by itself, in a stream and without. */
async function tools(here) {
  const weather = {
    type: "function",
    function: { ...FUNCTION, parse: JSON.parse, function: ({ city }) => `sunny in ${city}` },
  };
  for (const streamed of [false, true]) {
    const asked = asking(here, "tools", { tools: [weather], stream: streamed });
    const runner = client(here).chat.completions.runTools(asked);
    same(await runner.finalContent(), "It is: sunny in Paris / sunny in Rome");
  }
}

async function tools_by_hand(here) {
  const asked = asking(here, "tools", { tools: [TOOL] });
  const stream = client(here).chat.completions.stream(asked);
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  same([finish_reason, message.tool_calls.length], ["tool_calls", 2]);
  const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "20" }));
  const answer = await client(here).chat.completions.create({
    ...asked,
    messages: [...asked.messages, message, ...results],
  });
  same(answer.choices[0].message.content, "It is: 20 / 20");
}

async function parse(here) {
  const asked = asking(here, "schema", { response_format: zodResponseFormat(Person, "person") });
  same((await client(here).chat.completions.parse(asked)).choices[0].message.parsed, PERSON);
}

async function picture(here) {
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } };
  const content = [{ type: "text", text: `[picture:${here.mark()}]` }, image];
  const asked = { model: here.model, messages: [{ role: "user", content }] };
  const said = (await client(here).chat.completions.create(asked)).choices[0].message.content;
  same(said.slice(0, PNG_SEEN.length), PNG_SEEN);
}

async function completions(here) {
  const asked = { model: here.model, prompt: `[hello:${here.mark()}]` };
  same((await client(here).completions.create(asked)).choices[0].text, "Hello there");
}

async function embeddings(here) {
  const answer = await client(here).embeddings.create({ model: here.vectors, input: ["four", "seventeen"] });
  same(
    answer.data.map((one) => one.embedding),
    [
      [4, -0.5],
      [9, -0.5],
    ],
  );
}

async function models(here) {
  const listed = [];
  for await (const model of client(here).models.list()) listed.push(model.id);
  same(listed.includes(here.model), true);
}

async function errors(here) {
  const chat = client(here).chat.completions;
  const nobody = await throws(AuthenticationError, () =>
    client(here, "sk-nobody").chat.completions.create(asking(here, "hello")),
  );
  same(nobody.code, "invalid_api_key");
  await throws(NotFoundError, () => chat.create(asking(here, "hello", { model: "missing-model" })));
  await throws(BadRequestError, () => chat.create(asking(here, "fail-400")));
  for (const stream of [false, true]) {
    const trouble = { model: here.trouble, stream };
    await throws(RateLimitError, () => chat.create(asking(here, "fail-429", trouble)));
    await throws(InternalServerError, () => chat.create(asking(here, "fail-500", trouble)));
  }
}

async function own_limit(here) {
  const own = client(here, await here.newKey({ limits: { rpm: 1 } })).chat.completions;
  await own.create(asking(here, "hello"));
  same((await throws(RateLimitError, () => own.create(asking(here, "hello")))).code, "rate_limit_exceeded");
}

async function broken_stream(here) {
  for (const scene of ["break", "fault"]) {
    const mark = here.mark();
    const said = [];
    await throws(APIError, async () => {
      const asked = { model: here.trouble, messages: says(here, scene, mark), stream: true };
      for await (const chunk of await client(here).chat.completions.create(asked)) {
        const text = chunk.choices[0]?.delta.content;
        if (text) {
          said.push(text);
          await here.open(mark);
        }
      }
    });
    same(said, ["One"]);
  }
}

async function slow(here) {
  let said = "";
  const chunks = await client(here).chat.completions.create(asking(here, "slow", { stream: true }));
  for await (const chunk of chunks) said += chunk.choices[0]?.delta.content ?? "";
  same(said, "One two");
}

async function leaving(here) {
  const mark = here.mark();
  const asked = { model: here.model, messages: says(here, "hang", mark), stream: true };
  for await (const chunk of await client(here).chat.completions.create(asked)) {
    if (chunk.choices[0]?.delta.content) break;
  }
  same(await here.left(mark), true);
}

// --- responses -------------------------------------------------------------------------------------------------------
const items = (here, scene, more = {}, mark = here.mark()) => ({
  model: here.model,
  input: says(here, scene, mark),
  store: false,
  ...more,
});

async function respond(here) {
  const answer = await client(here).responses.create(items(here, "hello"));
  same([answer.output_text, answer.status], ["Hello there", "completed"]);
  same([answer.usage.input_tokens, answer.usage.output_tokens], [20, 7]);
}

async function respond_streamed(here) {
  const mark = here.mark();
  const said = [];
  const stream = client(here).responses.stream(items(here, "gated", {}, mark));
  for await (const event of stream) {
    if (event.type !== "response.output_text.delta") continue;
    said.push(event.delta);
    await here.open(mark);
  }
  same(said, ["One", " two"]);
  same((await stream.finalResponse()).output_text, "One two");
}

async function respond_tools(here) {
  const mark = here.mark();
  const thought = { reasoning: { effort: "medium", summary: "auto" }, include: ["reasoning.encrypted_content"] };
  const asked = items(here, "thinktools", { tools: [{ type: "function", strict: false, ...FUNCTION }], ...thought }, mark);
  const first = await client(here).responses.stream(asked).finalResponse();
  const calls = first.output.filter((item) => item.type === "function_call");
  same(
    calls.map((call) => JSON.parse(call.arguments).city),
    ["Paris", "Rome"],
  );
  same(first.output[0].summary[0].text, "I should look.");
  const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: "20" }));
  const input = [...asked.input, ...first.output, ...results];
  const last = await client(here).responses.create({ ...asked, input });
  same(last.output_text, `States: ${here.wire === "chat.completions" ? "none" : mark}`);
}

async function respond_parsed(here) {
  const asked = items(here, "schema", { text: { format: zodTextFormat(Person, "person") } });
  same((await client(here).responses.parse(asked)).output_parsed, PERSON);
}

async function respond_broken(here) {
  for (const scene of ["break", "fault"]) {
    const mark = here.mark();
    const kinds = [];
    const asked = items(here, scene, { model: here.trouble, stream: true }, mark);
    const read = async () => {
      for await (const event of await client(here).responses.create(asked)) {
        kinds.push(event.type);
        if (event.type === "response.output_text.delta") await here.open(mark);
      }
    };
    // The SDK gives an error event to its user, or throws it.
    await read().catch((error) => same(error instanceof APIError, true));
    same(
      kinds.some((kind) => kind === "response.completed"),
      false,
    );
    same(kinds.includes("error") || kinds.includes("response.failed") || kinds.at(-1).endsWith("delta"), true);
  }
}

const CHAT = [
  complete,
  stream,
  able(tools),
  able(tools_by_hand),
  able(parse),
  able(picture),
  completions,
  embeddings,
  models,
  errors,
  through(own_limit),
  through(broken_stream),
  near(slow),
  leaving,
];
const OTHER = [respond, respond_streamed, respond_tools, respond_parsed, through(respond_broken)];

await run("openai", RESPONSES ? OTHER : CHAT);
