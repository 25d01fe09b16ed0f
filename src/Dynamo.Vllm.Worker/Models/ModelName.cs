using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>What <c>--model</c> names.</summary>
internal static class ModelName
{
    /// <summary>As in the reference whatever exists as a path is not fetched.</summary>
    /// <exception cref="ConfigurationException">Neither a path nor a name on
    /// the hub, or of a place that this worker does not fetch from.</exception>
    public static bool IsOnHub(string model)
    {
        if (Path.Exists(model))
        {
            return false;
        }

        if (model.IndexOf("://", StringComparison.Ordinal) is > 0 and var end)
        {
            throw new ConfigurationException(
                $"--model '{model}': {model[..end]}:// is not supported yet; give a local folder or the name of a model on the hub "
                    + "(ORG/NAME)"
            );
        }

        return model.Length == 0 || model[0] is '/' or '.' or '~'
            ? throw new ConfigurationException($"--model '{model}': there is no such folder")
            : true;
    }
}
