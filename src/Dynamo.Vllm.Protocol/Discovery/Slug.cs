namespace Dynamo.Vllm.Protocol.Discovery;

/// <summary>Names made safe for paths: lower case, anything outside <c>a-z
/// 0-9 - _</c> becomes <c>_</c>, leading <c>_</c> dropped.</summary>
public static class Slug
{
    public static string Of(string name)
    {
        var slug = string.Create(
            name.Length,
            name,
            static (span, source) =>
            {
                for (var i = 0; i < source.Length; i++)
                {
                    var c = char.ToLowerInvariant(source[i]);
                    span[i] = c is (>= 'a' and <= 'z') or (>= '0' and <= '9') or '-' or '_' ? c : '_';
                }
            }
        );
        return slug.TrimStart('_');
    }
}
