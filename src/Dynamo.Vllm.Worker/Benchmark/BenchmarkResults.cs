using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Benchmark;

/// <summary>What the ranks of a worker measured, as one object: every point once for each rank.</summary>
/// <remarks>A planner computes with these numbers, so ranks that did not measure the same grid together are refused.</remarks>
internal static class BenchmarkResults
{
    private static readonly string[] SharedMembers = ["status", "stop_reason", "run_id", "grid_digest", "coverage", "iteration_groups"];

    /// <exception cref="InvalidDataException">A file says that its run failed, or does not belong to the others.</exception>
    public static JsonObject Merge(IReadOnlyList<(int Rank, string Path, JsonObject Data)> ranks, string mergedPath)
    {
        var first = ranks[0].Data;
        foreach (var (rank, path, data) in ranks)
        {
            CheckRank(rank, path, data);
            foreach (var name in SharedMembers)
            {
                Refuse(!JsonNode.DeepEquals(data[name], first[name]), path, $"{name} differs from that of {ranks[0].Path}");
            }
        }

        var groups = first["iteration_groups"]!.AsArray();
        var size = first["dp"]!["size"]!.GetValue<int>();
        CheckGroups(groups, size, ranks[0].Path);
        var merged = first.DeepClone().AsObject();
        merged["artifact_type"] = "merged";
        merged["dp"] = new JsonObject
        {
            ["ranks"] = Numbers(Enumerable.Range(0, size)),
            ["source_ranks"] = Numbers(ranks.Select(rank => rank.Rank)),
            ["managed_size"] = ranks.Count,
            ["global_size"] = size,
        };
        merged["rank_files"] = new JsonArray([.. ranks.Select(rank => JsonValue.Create(rank.Path))]);
        merged["merged_output_path"] = mergedPath;
        merged["results"] = Results(groups, ranks);
        merged["timing"] = Timing(groups, ranks);
        merged["coverage"] = Coverage(first["coverage"]!.AsObject(), size);
        return merged;
    }

    private static void CheckRank(int rank, string path, JsonObject data)
    {
        var status = (string?)data["status"];
        Refuse(
            status is not ("complete" or "partial") || data["error"] is not null,
            path,
            $"the run ended as {status ?? "nothing"}: {data["error"]?.ToJsonString() ?? "no reason given"}"
        );
        Refuse((int?)data["dp"]?["rank"] != rank, path, $"it is not of rank {rank}");
        Refuse(data["coverage"] is not JsonObject, path, "coverage is missing");
        var coverage = data["coverage"]!.AsObject();
        var (expected, completed) = ((int?)coverage["expected_points"] ?? -1, (int?)coverage["completed_points"] ?? -1);
        Refuse(completed < 0 || completed > expected, path, $"{completed} of {expected} points are completed");
        Refuse((data["results"] as JsonArray)?.Count != completed, path, $"results are not of {completed} points");
        Refuse((data["iteration_groups"] as JsonArray)?.Count != completed, path, $"iteration_groups are not of {completed} points");
        Refuse(status == "complete" && completed != expected, path, $"a complete run has {completed} of {expected} points");
        Refuse(
            status == "partial" && ((string?)data["stop_reason"] != "timeout" || completed == expected),
            path,
            "a partial run was not stopped by its limit"
        );
        Refuse(data["timing"] is not JsonObject, path, "timing is missing");
    }

    /// <summary>Points are numbered from 1, and each has one measurement of every rank.</summary>
    private static void CheckGroups(JsonArray groups, int size, string path)
    {
        foreach (var (index, group) in groups.Index())
        {
            Refuse((int?)group!["benchmark_id"] != index + 1, path, $"point {index + 1} is missing");
            var measured = group["rank_results"] as JsonArray;
            var isWhole =
                measured?.Count == size
                && measured
                    .Index()
                    .All(entry => (int?)entry.Item!["dp_rank"] == entry.Index && entry.Item["fpms"] is JsonArray { Count: 1 });
            Refuse(!isWhole, path, $"point {index + 1} is not measured once by each of {size} ranks");
        }
    }

    private static JsonArray Results(JsonArray groups, IReadOnlyList<(int Rank, string Path, JsonObject Data)> ranks)
    {
        var results = new JsonArray();
        foreach (var (index, group) in groups.Index())
        {
            foreach (var measured in group!["rank_results"]!.AsArray())
            {
                var rank = measured!["dp_rank"]!.GetValue<int>();
                var point = group["point"]!.DeepClone();
                point["dp_rank"] = rank;
                var entry = new JsonObject { ["point"] = point, ["fpms"] = measured["fpms"]!.DeepClone() };
                var own = ranks.FirstOrDefault(source => source.Rank == rank).Data?["results"]![index];
                if (own?["kv_seed_regime"] is { } regime)
                {
                    entry["kv_seed_regime"] = regime.DeepClone();
                }

                results.Add(entry);
            }
        }

        return results;
    }

    /// <summary>The slowest rank's: the others waited for it.</summary>
    private static JsonObject Timing(JsonArray groups, IReadOnlyList<(int Rank, string Path, JsonObject Data)> ranks)
    {
        const string elapsed = "benchmark_elapsed_seconds";
        var byRank = ranks.Select(rank => (rank.Rank, Timing: rank.Data["timing"]!.AsObject())).ToList();
        var slowest = byRank.MaxBy(rank => rank.Timing[elapsed]!.GetValue<double>());
        var timing = slowest.Timing.DeepClone().AsObject();
        timing["measured_iteration_seconds"] = groups.Sum(group => group!["wall_time"]?.GetValue<double>() ?? 0);
        timing["rank_benchmark_elapsed_seconds"] = new JsonObject(
            byRank.Select(rank =>
                KeyValuePair.Create(
                    rank.Rank.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    rank.Timing[elapsed]?.DeepClone()
                )
            )
        );
        return timing;
    }

    private static JsonObject Coverage(JsonObject ofRank, int size) =>
        new(ofRank.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)(((int?)pair.Value ?? 0) * size))));

    private static JsonArray Numbers(IEnumerable<int> numbers) => new([.. numbers.Select(number => JsonValue.Create(number))]);

    private static void Refuse(bool isWrong, string path, string problem)
    {
        if (isWrong)
        {
            throw new InvalidDataException($"The self-benchmark left results at {path} that cannot be used: {problem}");
        }
    }
}
