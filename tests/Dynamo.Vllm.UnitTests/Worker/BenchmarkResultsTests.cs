using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Benchmark;

namespace Dynamo.Vllm.UnitTests.Worker;

/// <summary>What the scheduler of the official package leaves, cut down to what is read of it.</summary>
public sealed class BenchmarkResultsTests
{
    [Fact]
    public void Every_point_is_there_once_for_each_rank()
    {
        var merged = BenchmarkResults.Merge([(2, "/r_dp2.json", Rank(2)), (1, "/r_dp1.json", Rank(1, elapsed: 9))], "/r_merged.json");
        Assert.Equal(
            ["1 rank 0", "1 rank 1", "1 rank 2", "2 rank 0", "2 rank 1", "2 rank 2"],
            merged["results"]!.AsArray().Select(result => $"{result!["point"]!["benchmark_id"]} rank {result["point"]!["dp_rank"]}")
        );
        Assert.Equal("""{"expected_points":6,"completed_points":6,"skipped_points":0}""", merged["coverage"]!.ToJsonString());
        Assert.Equal(
            """{"benchmark_elapsed_seconds":9,"measured_iteration_seconds":0.75,"rank_benchmark_elapsed_seconds":{"2":1,"1":9}}""",
            merged["timing"]!.ToJsonString()
        );
        Assert.Equal("""{"ranks":[0,1,2],"source_ranks":[2,1],"managed_size":2,"global_size":3}""", merged["dp"]!.ToJsonString());
        Assert.Equal("merged", merged["artifact_type"]!.GetValue<string>());
        Assert.Equal("cold", merged["results"]![1]!["kv_seed_regime"]!.GetValue<string>());
        Assert.Null(merged["results"]![0]!["kv_seed_regime"]); // of a rank of another worker
    }

    [Theory]
    [InlineData("status", "\"failed\"", "the run ended as failed")]
    [InlineData("error", "\"out of memory\"", "out of memory")]
    [InlineData("run_id", "\"other\"", "run_id differs from that of /r_dp1.json")]
    [InlineData("grid_digest", "null", "grid_digest differs")]
    [InlineData("dp", """{"rank":7,"size":3}""", "it is not of rank 2")]
    [InlineData("coverage", """{"expected_points":2,"completed_points":1}""", "results are not of 1 points")]
    [InlineData("coverage", """{"expected_points":3,"completed_points":2}""", "a complete run has 2 of 3 points")]
    [InlineData("results", "[]", "results are not of 2 points")]
    [InlineData("timing", "null", "timing is missing")]
    public void Ranks_that_did_not_measure_the_same_together_are_refused(string member, string value, string problem)
    {
        var wrong = Rank(2);
        wrong[member] = JsonNode.Parse(value);
        var failure = Assert.Throws<InvalidDataException>(() =>
            BenchmarkResults.Merge([(1, "/r_dp1.json", Rank(1)), (2, "/r_dp2.json", wrong)], "/m")
        );
        Assert.Contains("/r_dp2.json", failure.Message, StringComparison.Ordinal);
        Assert.Contains(problem, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_point_that_a_rank_has_not_measured_is_refused()
    {
        var rank = Rank(1);
        rank["iteration_groups"]![1]!["rank_results"]!.AsArray().RemoveAt(2);
        var failure = Assert.Throws<InvalidDataException>(() => BenchmarkResults.Merge([(1, "/r", rank)], "/m"));
        Assert.EndsWith("point 2 is not measured once by each of 3 ranks", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Files_are_named_for_their_ranks()
    {
        var files = new BenchmarkFiles("/tmp/r.json", firstRank: 0, ranks: 2);
        Assert.Equal(["/tmp/r.json", "/tmp/r_dp1.json"], files.Ranks.Select(rank => rank.Path));
        Assert.Equal("/tmp/r_merged.json", files.Merged);
        Assert.Equal("/tmp/r_dp1_merged.json", new BenchmarkFiles("/tmp/r.json", firstRank: 1, ranks: 1).Merged);
    }

    private static JsonObject Rank(int rank, double elapsed = 1)
    {
        var groups = new JsonArray();
        var results = new JsonArray();
        foreach (var id in (int[])[1, 2])
        {
            var point = new JsonObject { ["benchmark_id"] = id };
            var measured = new JsonArray([
                .. Enumerable
                    .Range(0, 3)
                    .Select(other => new JsonObject
                    {
                        ["dp_rank"] = other,
                        ["fpms"] = new JsonArray(new JsonObject { ["dp_rank"] = other }),
                    }),
            ]);
            groups.Add(
                new JsonObject
                {
                    ["benchmark_id"] = id,
                    ["point"] = point.DeepClone(),
                    ["wall_time"] = id * 0.25,
                    ["rank_results"] = measured,
                }
            );
            results.Add(new JsonObject { ["point"] = point, ["kv_seed_regime"] = "cold" });
        }

        return new JsonObject
        {
            ["status"] = "complete",
            ["run_id"] = "one",
            ["grid_digest"] = "same",
            ["stop_reason"] = null,
            ["error"] = null,
            ["dp"] = new JsonObject { ["rank"] = rank, ["size"] = 3 },
            ["coverage"] = new JsonObject
            {
                ["expected_points"] = 2,
                ["completed_points"] = 2,
                ["skipped_points"] = 0,
            },
            ["timing"] = new JsonObject { ["benchmark_elapsed_seconds"] = elapsed },
            ["results"] = results,
            ["iteration_groups"] = groups,
        };
    }
}
