using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

/// <summary>What is made of a run whose times are known.</summary>
public sealed class BenchSummaryTests
{
    private static readonly string[] Arguments =
    [
        "--num-prompts",
        "5",
        "--max-concurrency",
        "2",
        "--request-rate",
        "2.5",
        "--percentile-metrics",
        "e2el,ttft,tpot,itl,client_queue_time",
        "--metric-percentiles",
        "50,99.9",
        "--goodput",
        "ttft:150",
        "e2el:1000",
    ];

    private static readonly Attempt[] Attempts =
    [
        new()
        {
            Start = 0,
            FirstToken = 0.1,
            Latency = 0.4,
            Intervals = [0.1, 0.2],
            PromptTokens = 10,
            OutputTokens = 4,
        },
        new()
        {
            Start = 0.5,
            QueueTime = 0.25,
            FirstToken = 0.2,
            Latency = 1.4,
            Intervals = [1.2],
            PromptTokens = 20,
            OutputTokens = 2,
        },
        new() { Start = 0.6, Failure = new Failure("HTTP 503", "busy") },
        new() { Start = 0.7, IsAbandoned = true },
    ];

    [Fact]
    public void The_block_is_the_one_that_people_know()
    {
        var summary = new BenchSummary(BenchSample.Options(Arguments), Attempts, TimeSpan.FromSeconds(2));
        Assert.Equal(
            """
            ============ Serving Benchmark Result ============
            Successful requests:                     2
            Failed requests:                         1
            Maximum request concurrency:             2
            Request rate configured (RPS):           2.50
            Benchmark duration (s):                  2.00
            Total input tokens:                      30
            Total generated tokens:                  6
            Request throughput (req/s):              1.00
            Request goodput (req/s):                 0.50
            Output token throughput (tok/s):         3.00
            Peak output token throughput (tok/s):    4.00
            Peak concurrent requests:                2.00
            Total token throughput (tok/s):          18.00
            ---------------Time to First Token----------------
            Mean TTFT (ms):                          150.00
            Median TTFT (ms):                        150.00
            P50 TTFT (ms):                           150.00
            P99.9 TTFT (ms):                         199.90
            -----Time per Output Token (excl. 1st token)------
            Mean TPOT (ms):                          650.00
            Median TPOT (ms):                        650.00
            P50 TPOT (ms):                           650.00
            P99.9 TPOT (ms):                         1198.90
            ---------------Inter-token Latency----------------
            Mean ITL (ms):                           500.00
            Median ITL (ms):                         200.00
            P50 ITL (ms):                            200.00
            P99.9 ITL (ms):                          1198.00
            ----------------End-to-end Latency----------------
            Mean E2EL (ms):                          900.00
            Median E2EL (ms):                        900.00
            P50 E2EL (ms):                           900.00
            P99.9 E2EL (ms):                         1399.00
            ---------------Client-side Queueing---------------
            Mean Client Queue Time (ms):             125.00
            Median Client Queue Time (ms):           125.00
            P50 Client Queue Time (ms):              125.00
            P99.9 Client Queue Time (ms):            249.75
            ==================================================
            1 failed: HTTP 503; the first: busy
            Stopped early: 1 requests were abandoned, 1 not sent

            """.ReplaceLineEndings("\n"),
            BenchText.Of(summary)
        );
    }

    [Fact]
    public void The_file_has_vLLM_s_members()
    {
        using var folder = new TemporaryFolder();
        var path = Path.Combine(folder.Path, "new");
        var options = BenchSample.Options([.. Arguments, "--save-result", "--save-detailed", "--result-dir", path, "--metadata", "tp=1"]);
        var summary = new BenchSummary(options, Attempts, TimeSpan.FromSeconds(2));
        var file = BenchFile.Write(options.File!, summary, "org/tiny", new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero));
        Assert.Equal(Path.Combine(path, "openai-2.5qps-concurrency2-tiny-20260102-030405.json"), file);
        var json = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        Assert.Equal(("org/tiny", "1", 5), ((string)json["model_id"]!, (string)json["tp"]!, (int)json["num_prompts"]!));
        Assert.Equal(
            (2, 1, 30, 6),
            ((int)json["completed"]!, (int)json["failed"]!, (int)json["total_input_tokens"]!, (int)json["total_output_tokens"]!)
        );
        Assert.Equal(1199, (double)json["p99.9_tpot_ms"]! + 0.1, 1e-9);
        Assert.Equal(50, (double)json["std_ttft_ms"]!, 1e-9);
        Assert.Equal("[[0.1,0.2],[1.2],[],[]]", json["itls"]!.ToJsonString());
        Assert.Equal("""["","","busy","abandoned"]""", json["errors"]!.ToJsonString());
        Assert.Equal("[4,2,0,0]", json["output_lens"]!.ToJsonString());
    }

    [Fact]
    public void A_run_in_which_everything_failed_is_told_too()
    {
        var summary = new BenchSummary(BenchSample.Options("--num-prompts", "1"), [Attempts[2]], TimeSpan.FromSeconds(1));
        var text = BenchText.Of(summary);
        Assert.Contains("Successful requests:                     0\n", text, StringComparison.Ordinal);
        Assert.Contains("P99 ITL (ms):                            0.00\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public void The_bar_says_how_far_it_is() =>
        Assert.Equal(
            "[#######-----------------------] 25/100 00:00:10<00:00:30 2.50 req/s, 8 open, 1 failed",
            BenchProgress.Text(succeeded: 24, failed: 1, open: 8, count: 100, TimeSpan.FromSeconds(10))
        );
}
