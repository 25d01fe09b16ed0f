using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

public sealed class BenchOptionsTests
{
    [Theory]
    [InlineData("--num-prompts 0", "--num-prompts must be between 1 and 1000000, got 0")]
    [InlineData("--num-prompts 20000", "--max-concurrency is needed for more than 16384 prompts")]
    [InlineData("--num-prompts 1000000 --max-concurrency 8", "--num-prompts times --random-output-len must be at most 33554432 tokens")]
    [InlineData("--max-concurrency 0", "--max-concurrency must be between 1 and 16384, got 0")]
    [InlineData("--request-rate 0", "--request-rate must be a number from 0.001 to 1000000, or inf, got '0'")]
    [InlineData("--random-range-ratio 1", "--random-range-ratio must be at least 0 and below 1, got 1")]
    [InlineData("--endpoint /v1/embeddings", "--endpoint must be a path that ends with /completions or /chat/completions")]
    [InlineData("--backend openai-embeddings", "--backend openai-embeddings: only openai, vllm and openai-chat are spoken here")]
    [InlineData("--backend openai-chat --endpoint /v1/completions", "--backend openai-chat does not go with --endpoint /v1/completions")]
    [InlineData("--dataset-name sharegpt", "--dataset-name sharegpt: only random prompts are made here")]
    [InlineData("--base-url ftp://x", "'ftp://x' is no address of a server")]
    [InlineData("--base-url http://me:secret@x", "is no address of a server")]
    [InlineData("--percentile-metrics ttft,speed", "--percentile-metrics: 'speed' is none of ttft, tpot, itl, e2el")]
    [InlineData("--percentile-metrics client_queue_time", "--percentile-metrics: nothing waits in this client without --max-concurrency")]
    [InlineData("--metric-percentiles 99,101", "--metric-percentiles must be numbers from 0 to 100, got '101'")]
    [InlineData("--goodput itl:5", "--goodput takes ttft, tpot or e2el with a number of milliseconds (ttft:500), got 'itl'")]
    [InlineData("--header secret", "--header takes KEY=VALUE, and one of its values has no '='")]
    [InlineData("--header content-type=x", "--header: content-type is set by bench")]
    [InlineData("--extra-body [1]", "--extra-body must be a JSON object")]
    [InlineData("--extra-body {\"stream\":false}", "--extra-body: 'stream' is set by options of bench")]
    [InlineData("--save-detailed", "--result-dir, --result-filename and --save-detailed need --save-result")]
    [InlineData("--tokenizer /nowhere", "--tokenizer takes the folder of a model on this host")]
    [InlineData("--request-timeout-sec 0", "--request-timeout-sec must be between 0.001 and 604800 seconds, got 0")]
    [InlineData("--burstiness 0.5", "Unrecognized command or argument '--burstiness'")]
    [InlineData("--lora-modules a", "Unrecognized command or argument '--lora-modules'")]
    public void What_cannot_be_done_is_refused_by_its_name(string arguments, string problem) =>
        Assert.Contains(
            problem,
            Assert.Throws<FormatException>(() => BenchSample.Options(arguments.Split(' '))).Message,
            StringComparison.Ordinal
        );

    [Fact]
    public void The_endpoint_and_the_backend_say_each_other()
    {
        Assert.Equal("http://127.0.0.1:8000/v1/completions", BenchSample.Options().Url.ToString());
        Assert.Equal(
            "http://[::1]:9/v1/chat/completions",
            BenchSample.Options("--host", "::1", "--port", "9", "--backend", "openai-chat").Url.ToString()
        );
        var proxied = BenchSample.Options("--base-url", "https://gate/dynamo/", "--endpoint", "/v1/chat/completions");
        Assert.Equal(("https://gate/dynamo/v1/chat/completions", "openai-chat"), (proxied.Url.ToString(), proxied.Backend));
        Assert.Equal("https://gate/dynamo/v1/models", proxied.ModelsUrl.ToString());
    }

    [Fact]
    public void Prompts_are_ids_of_the_vocabulary_that_are_not_special_and_the_same_for_a_seed()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(Path.Combine(folder.Path, "config.json"), """{"text_config":{"vocab_size":6}}""");
        File.WriteAllText(
            Path.Combine(folder.Path, "tokenizer_config.json"),
            """{"added_tokens_decoder":{"0":{"special":true},"5":{},"900":{}}}"""
        );
        var options = BenchSample.Options(
            "--tokenizer",
            folder.Path,
            "--random-input-len",
            "40",
            "--random-prefix-len",
            "10",
            "--random-range-ratio",
            "0.5",
            "--random-output-len",
            "8",
            "--extra-body",
            """{"nvext":{"a":1}}""",
            "--temperature",
            "0.5"
        );
        var bodies = Enumerable.Range(0, 50).Select(number => Body(options, number)).ToList();
        var prompts = bodies.Select(body => body["prompt"]!.AsArray().Select(token => (int)token!).ToList()).ToList();
        Assert.All(prompts, prompt => Assert.InRange(prompt.Count, 10 + 20, 10 + 60));
        Assert.All(prompts, prompt => Assert.Equal(prompts[0].Take(10), prompt.Take(10)));
        Assert.All(prompts.SelectMany(prompt => prompt), token => Assert.InRange(token, 1, 4));
        Assert.Equal(50, prompts.Select(prompt => string.Join(',', prompt.Skip(10))).Distinct().Count());
        Assert.All(bodies, body => Assert.InRange((int)body["max_tokens"]!, 4, 12));
        Assert.True(bodies.Select(body => (int)body["max_tokens"]!).Distinct().Count() > 4);
        Assert.Equal(bodies[7].ToJsonString(), Body(options, 7).ToJsonString());
        Assert.NotEqual(bodies[7].ToJsonString(), Body(options with { Seed = 1 }, 7).ToJsonString());
        Assert.Equal("""{"a":1}""", bodies[0]["nvext"]!.ToJsonString());
        Assert.Equal((0.5, true, true), ((double)bodies[0]["temperature"]!, (bool)bodies[0]["ignore_eos"]!, (bool)bodies[0]["stream"]!));
    }

    [Fact]
    public void Chats_and_prompts_without_a_vocabulary_are_words()
    {
        var chat = Body(BenchSample.Options("--backend", "openai-chat", "--input-len", "5", "--output-len", "3"), 0);
        Assert.Equal(5, ((string)chat["messages"]![0]!["content"]!).Split(' ').Length);
        Assert.Equal(3, (int)chat["max_completion_tokens"]!);
        Assert.Equal(5, ((string)Body(BenchSample.Options("--input-len", "5"), 0)["prompt"]!).Split(' ').Length);
    }

    [Fact]
    public void Arrivals_are_a_poisson_process_of_just_the_rate()
    {
        var times = ArrivalSchedule.Create(20_000, 50, seed: 3);
        Assert.Equal(400, times[^1], 1e-6);
        var gaps = times.Zip(times.Skip(1), (first, second) => second - first).ToList();
        Assert.All(gaps, gap => Assert.True(gap >= 0));
        Assert.InRange(gaps.Count(gap => gap > 0.02) / (double)gaps.Count, 0.35, 0.385); // 1/e of them are longer than the mean
        Assert.Equal(times, ArrivalSchedule.Create(20_000, 50, seed: 3));
        Assert.All(ArrivalSchedule.Create(10, double.PositiveInfinity, seed: 3), time => Assert.Equal(0, time));
    }

    private static JsonNode Body(BenchOptions options, int number) =>
        JsonNode.Parse(new RequestFactory(options, "tiny").Create(number).Body.Span)!;
}
