using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Models;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>The model, the caches and the temporary folder: there, readable, writable, with room.</summary>
internal sealed class FoldersCheck(WorkerSettings settings)
{
    /// <summary>Compiled kernels and graphs of one model are some hundred MiB.</summary>
    private const long CacheFreeMin = 2L << 30;

    private const long TemporaryFreeMin = 64L << 20;

    public Task LookAtModelAsync(Findings findings, CancellationToken cancellationToken)
    {
        if (RawArguments.ValueOf(settings.Arguments.EngineArguments, "--model") is not { } model)
        {
            findings.Warning("no --model in these arguments", "give doctor the worker's own arguments, and it looks at the model, too");
            return Task.CompletedTask;
        }

        try
        {
            if (ModelName.IsOnHub(model))
            {
                findings.Ok($"{model} is a name of the hub: it is fetched at the start, into {HubCache()}");
                return Task.CompletedTask;
            }

            ModelDirectory.Require(model, customTemplate: null);
            LookAtFiles(findings, model);
        }
        catch (Exception exception) when (exception is ConfigurationException or IOException or UnauthorizedAccessException)
        {
            findings.Problem(exception.Message, "mount the model, or correct --model; it must be readable for the worker's user");
        }

        return Task.CompletedTask;
    }

    public Task LookAtSpaceAsync(Findings findings, CancellationToken cancellationToken)
    {
        LookAtCache(findings, "the hub's cache (HF_HUB_CACHE)", HubCache());
        LookAtCache(findings, "vLLM's cache (VLLM_CACHE_ROOT)", Variable("VLLM_CACHE_ROOT") ?? Path.Combine(UserCache(), "vllm"));
        try
        {
            var folder = TemporaryFolders.Create("dynamo-doctor-", settings.Environment);
            var place = Path.GetDirectoryName(folder)!;
            Directory.Delete(folder);
            var named = Variable("TMPDIR");
            if (named is not null && !string.Equals(Path.TrimEndingDirectorySeparator(named), place, StringComparison.Ordinal))
            {
                findings.Warning($"TMPDIR={named} takes no file; {place} is used", "create it, or make it writable");
            }

            LookAtRoom(findings, "temporary files", place, TemporaryFreeMin);
        }
        catch (ConfigurationException exception)
        {
            findings.Problem(exception.Message, "a container with a read-only root needs a volume for it");
        }

        return Task.CompletedTask;
    }

    /// <summary>What may not be read is found here and not after minutes of loading.</summary>
    private static void LookAtFiles(Findings findings, string model)
    {
        var bytes = 0L;
        var count = 0;
        foreach (var file in new DirectoryInfo(model).EnumerateFiles())
        {
            using var opened = file.OpenRead();
            bytes += opened.Length;
            count++;
        }

        findings.Ok($"{model}: {count} files, {Sizes.Text(bytes)}, all can be read");
    }

    private static void LookAtCache(Findings findings, string what, string folder)
    {
        var existing = folder;
        while (!Directory.Exists(existing))
        {
            existing = Path.GetDirectoryName(existing) ?? "/";
        }

        if (TemporaryFolders.TryCreate(existing) is { } problem)
        {
            findings.Warning($"{what}: {folder} cannot be written: {problem}", "give it a writable volume, or name another folder");
        }
        else
        {
            LookAtRoom(findings, $"{what}, {folder}", existing, CacheFreeMin);
        }
    }

    private static void LookAtRoom(Findings findings, string what, string folder, long least)
    {
        var free = new DriveInfo(folder).AvailableFreeSpace;
        var seen = $"{what}: {Sizes.Text(free)} free in {folder}";
        if (free < least)
        {
            findings.Warning(seen, $"less than {Sizes.Text(least)}: make room, or name another folder");
        }
        else
        {
            findings.Ok(seen);
        }
    }

    private string HubCache() =>
        Variable("HF_HUB_CACHE") ?? Path.Combine(Variable("HF_HOME") ?? Path.Combine(UserCache(), "huggingface"), "hub");

    private string UserCache() => Variable("XDG_CACHE_HOME") ?? Path.Combine(Variable("HOME") ?? "/", ".cache");

    private string? Variable(string name) => settings.Environment.GetValueOrDefault(name) is { Length: > 0 } value ? value : null;
}
